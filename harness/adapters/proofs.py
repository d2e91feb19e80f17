"""Run-time proofs that a variant does what its name says, checked on each trial.

A proof looks at the adapter before the first step and after the last, and raises `ProofError`
where a property that defines the variant does not hold; the trial then fails. Any variant may name
the proofs here; methods in `harness.adapters.methods` add their own to `PROOFS`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor

from harness.adapters.adapter import Adapter
from harness.models import token_classifier
from harness.registry import Registry

#: PEFT's name of the only adapter that is attached.
NAME: Final = "default"
#: Relative error allowed for a sum of matrices, by precision: that of its rounding.
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


class ProofError(Exception):
    """A variant does not do what its name says; the message is one line."""


@dataclass(frozen=True)
class ProofContext:
    """What proofs look at.

    Attributes:
        adapter: attached to the base model.
        groups: the optimizer's parameter groups, each with its peak learning rate as `peak`.
        ids: token ids of a probe, shape (1, length).
        base_output: the base model's output for the probe, from
            `harness.models.token_classifier.probe_output`.
        weights: the base weights of the target layers by name, before the adapter was attached.
    """

    adapter: Adapter
    groups: Iterable[Mapping[str, Any]]
    ids: Tensor
    base_output: Tensor
    weights: Mapping[str, Tensor]

    def lora(self) -> dict[str, LoraLayer]:
        """The layers that have an A and a B, by name."""
        layers = self.adapter.layers()
        return {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}

    def adapter_weights(self, part: str) -> dict[str, Tensor]:
        """Copies of all adapter weights of one part, such as `lora_A`, by name."""
        named = self.adapter.base.named_parameters()
        return {name: weight.detach().clone() for name, weight in named if f".{part}." in name}


class Proof:
    """One property of a variant; the first line of a subclass's docstring states it.

    Args:
        context: adapter, optimizer groups and base model of the trial.
    """

    def __init__(self, context: ProofContext) -> None:
        self.context = context

    def check_before(self) -> None:
        """Checks the property before the first step, and records what training must change.

        Raises:
            ProofError: it does not hold.
        """

    def check_after(self) -> None:
        """Checks the property after the last step.

        Raises:
            ProofError: it does not hold.
        """


def require(condition: bool, message: str) -> None:
    """Raises a `ProofError` with this message unless the condition holds."""
    if not condition:
        raise ProofError(message)


def allclose(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> bool:
    """Whether two tensors are equal but for rounding.

    Args:
        actual: any shape.
        expected: the same shape; its precision decides what counts as rounding.
        tolerance: largest difference allowed, as a share of the largest absolute value; by default
            that of the precision.
    """
    tolerance = _TOLERANCE.get(expected.dtype, 3e-2) if tolerance is None else tolerance
    size = max(float(actual.abs().max()), float(expected.abs().max()), 1e-12)
    return float((actual.float() - expected.float()).abs().max()) <= tolerance * size


def delta_weight(layer: LoraLayer) -> Tensor:
    """The adapter's update of a layer's weight, shape as the weight."""
    delta: Tensor = layer.get_delta_weight(NAME)  # type: ignore[attr-defined]
    return delta


PROOFS: Final[Registry[type[Proof]]] = Registry("proof")


class StartsAsBase(Proof):
    """Before the first step the logits (or the input of a new head) are those of the base."""

    def check_before(self) -> None:
        """Runs the probe through base and adapter."""
        context = self.context
        output = token_classifier.probe_output(context.adapter.base, context.ids)
        has_head = token_classifier.find_head(context.adapter.base) is not None
        what = "the head's input differs" if has_head else "logits differ"
        same = allclose(output, context.base_output)
        require(same, f"{what} from the base model's at the start")


class ZeroB(Proof):
    """B is zero at the start, and not at the end."""

    def check_before(self) -> None:
        """Looks at every B."""
        matrices = self.context.adapter_weights("lora_B")
        require(bool(matrices), "there is no B")
        require(not any(bool(b.any()) for b in matrices.values()), "B is not zero at the start")

    def check_after(self) -> None:
        """Looks for a B that is still zero everywhere."""
        matrices = self.context.adapter_weights("lora_B")
        require(any(bool(b.any()) for b in matrices.values()), "no B has changed")


class Scale(Proof):
    """The factor on B A is the variant's function of rank and alpha."""

    def check_before(self) -> None:
        """Measures each layer's update with A and B set to ones, and restores them."""
        adapter = self.context.adapter
        layers = self.context.lora()
        require(bool(layers), "no layer has an A and a B")
        for name, layer in layers.items():
            rank = adapter.config.rank
            if adapter.config.level("rank_pattern") != "none":
                rank = int(layer.r[NAME])  # alpha stays the same, so each layer has its own scale
            expected = adapter.variant.scale(rank, adapter.config.alpha)
            actual = _factor(layer)
            message = f"{name}: scale {actual:.4g}, not {expected:.4g}"
            require(abs(actual / expected - 1) < 1e-2, message)


class FasterB(Proof):
    """Every B has the learning rate of A times the variant's ratio (LoRA+, arXiv:2402.12354)."""

    def check_before(self) -> None:
        """Compares the rates of the optimizer's groups."""
        adapter = self.context.adapter
        ratio = adapter.variant.optimizer.get("b_rate_ratio", 1.0)
        if adapter.config.level("b_rate_ratio") != "own":
            ratio = float(adapter.config.level("b_rate_ratio"))
        require(ratio != 1.0, "the rates of A and B are the same")
        rates = {id(p): group["peak"] for group in self.context.groups for p in group["params"]}
        parameters = dict(adapter.base.named_parameters())
        rates_a = {rates.get(id(p)) for name, p in parameters.items() if ".lora_A." in name}
        rates_b = {rates.get(id(p)) for name, p in parameters.items() if ".lora_B." in name}
        single = len(rates_a) == len(rates_b) == 1
        require(single, f"several rates: A {rates_a}, B {rates_b}")
        rate_a, rate_b = rates_a.pop(), rates_b.pop()
        if rate_a is None or rate_b is None:
            raise ProofError("the optimiser does not hold A or B")
        actual = rate_b / rate_a
        message = f"B learns {actual:g} times as fast, not {ratio:g}"
        require(abs(actual / ratio - 1) < 1e-6, message)


class Magnitude(Proof):
    """Each output has a magnitude, which training changes (DoRA, arXiv:2402.09353, eq. 5)."""

    def check_before(self) -> None:
        """Counts the magnitudes."""
        self._initial = self.context.adapter_weights("lora_magnitude_vector")
        outputs = [layer.out_features for layer in self.context.lora().values()]
        sizes = [vector.numel() for vector in self._initial.values()]
        require(sizes == outputs, f"{len(sizes)} layers of {len(outputs)} have magnitudes")

    def check_after(self) -> None:
        """Compares them with the initial ones."""
        last = self.context.adapter_weights("lora_magnitude_vector")
        unchanged = [name for name in last if torch.equal(last[name], self._initial[name])]
        require(not unchanged, f"{len(unchanged)} magnitudes have not changed")


class CancellingInit(Proof):
    """A and B are both non-zero at the start, and their product is zero."""

    def check_before(self) -> None:
        """Multiplies them."""
        for name, layer in self.context.lora().items():
            a, b = (part[NAME].get_parameter("weight") for part in (layer.lora_A, layer.lora_B))
            require(bool(a.any()) and bool(b.any()), f"{name}: A or B is zero at the start")
            size = float(a.norm() * b.norm())
            require(float((b @ a).norm()) <= 1e-4 * size, f"{name}: B A is not zero at the start")


class FrozenA(Proof):
    """A is not trained, and is the same at the end as at the start."""

    def check_before(self) -> None:
        """Looks for A among the trained parameters."""
        self._initial = self.context.adapter_weights("lora_A")
        require(bool(self._initial), "there is no A")
        optimized = {id(p) for group in self.context.groups for p in group["params"]}
        named = self.context.adapter.base.named_parameters()
        matrices = (p for name, p in named if ".lora_A." in name)
        trained = [p for p in matrices if p.requires_grad or id(p) in optimized]
        require(not trained, f"{len(trained)} A are trained")

    def check_after(self) -> None:
        """Compares with the first."""
        last = self.context.adapter_weights("lora_A")
        moved = [name for name in last if not torch.equal(last[name], self._initial[name])]
        require(not moved, f"{len(moved)} A have changed")


def _factor(layer: LoraLayer) -> float:
    """The factor on B A, measured with A and B temporarily set to ones.

    AdaLoRA's quantised layers have no `get_delta_weight`: there the output for a unit input,
    less the base layer's, is measured instead.
    """
    names = ("lora_A", "lora_B", "lora_E")
    originals: list[tuple[torch.nn.Parameter, Tensor]] = []
    for name in names:
        for part in (getattr(layer, name)[NAME],) if hasattr(layer, name) else ():
            weight = part if isinstance(part, torch.nn.Parameter) else part.weight
            originals.append((weight, weight.data))
            weight.data = torch.ones_like(weight.data)
    try:
        rank = originals[0][0].shape[0]
        if hasattr(layer, "get_delta_weight"):
            return float(delta_weight(layer).flatten()[0]) / rank
        assert isinstance(layer, torch.nn.Module)
        unit_input = torch.zeros(1, int(layer.in_features or 0), device=originals[0][0].device)
        unit_input[0, 0] = 1.0
        return float((layer(unit_input) - layer.get_base_layer()(unit_input))[0, 0]) / rank
    finally:
        for weight, data in originals:
            weight.data = data


class Quantised(Proof):
    """The frozen weights are int8, or NF4 with quantised scales (QLoRA, arXiv:2305.14314)."""

    def check_before(self) -> None:
        """Looks at the weight of every target layer."""
        for name, layer in self.context.adapter.layers().items():
            weight = layer.get_base_layer().get_parameter("weight")
            if self.context.adapter.base.config.quantization_config.load_in_8bit:
                require(weight.dtype == torch.int8, f"{name}: its weight is {weight.dtype}")
                continue
            state: Any = getattr(weight, "quant_state", None)
            require(weight.dtype == torch.uint8, f"{name}: its weight is {weight.dtype}")
            require(state is not None and state.quant_type == "nf4", f"{name}: no NF4 code")
            require(state.nested, f"{name}: its scales are not quantised")


class TrainedHead(Proof):
    """The new head is randomly initialised, fully trained, and not the same at the end."""

    def check_before(self) -> None:
        """Looks for the head among the optimizer's parameters."""
        self._initial = {name: part.detach().clone() for name, part in self._parts().items()}
        optimized = {id(p) for group in self.context.groups for p in group["params"]}
        untrained = [name for name, part in self._parts().items() if id(part) not in optimized]
        require(bool(self._initial) and not untrained, "the head is not trained")
        initialized = all(bool(part.any()) for part in self._initial.values() if part.ndim > 1)
        require(initialized, "the head is not initialised")

    def check_after(self) -> None:
        """Compares it with its initial weights."""
        unchanged = [n for n, part in self._parts().items() if torch.equal(part, self._initial[n])]
        require(not unchanged, f"{len(unchanged)} weights of the head have not changed")

    def _parts(self) -> dict[str, torch.nn.Parameter]:
        head = token_classifier.find_head(self.context.adapter.base)
        named = () if head is None else head.module.named_parameters()
        return {name: part for name, part in named if part.requires_grad}


PROOFS.add("starts_as_base", StartsAsBase)
PROOFS.add("b_zero", ZeroB)
PROOFS.add("scale", Scale)
PROOFS.add("b_faster", FasterB)
PROOFS.add("magnitude", Magnitude)
PROOFS.add("cancelling", CancellingInit)
PROOFS.add("a_frozen", FrozenA)
PROOFS.add("quantised", Quantised)
PROOFS.add("head_trained", TrainedHead)
