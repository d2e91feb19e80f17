"""Proofs that any variant may name: how it starts, its scale, what is trained and at which rate.

Importing this module lets them register.

`Proof`: what shows that a variant does what its name says, checked on the trial as it runs.

A proof looks at the adapter before the first step and after the last, and raises when a fact that
the variant stands for does not hold; the trial then fails. `proofs.py` has those that any variant
may name, a kind of adapter brings its own. Knows adapters, not variants' names.
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

#: PEFT's name for the one adapter that is on.
NAME: Final = "default"
#: How far a sum of matrices may be from what it stands for, by precision, as a share of its size.
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


class ProofError(Exception):
    """A variant does not do what its name says; tells what was found, in one line."""


@dataclass(frozen=True)
class ProofContext:
    """What proofs look at.

    Attributes:
        adapter: on the base.
        groups: the optimiser's parameter groups, each with its rate at the peak as `peak`.
        ids: token ids of a probe, shape (1, length).
        reading: what the bare base makes of the probe; see
            `harness.models.token_classifier.probe_output`.
        weights: the base's own weights by name, as they are without the adapter.
    """

    adapter: Adapter
    groups: Iterable[Mapping[str, Any]]
    ids: Tensor
    reading: Tensor
    weights: Mapping[str, Tensor]

    def lora(self) -> dict[str, LoraLayer]:
        """The layers that have an A and a B, by name."""
        layers = self.adapter.layers()
        return {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}

    def parts(self, kind: str) -> dict[str, Tensor]:
        """Copies of all adapter weights of a kind, such as `lora_A`, by name."""
        named = self.adapter.base.named_parameters()
        return {name: weight.detach().clone() for name, weight in named if f".{kind}." in name}


class Proof:
    """One fact, which the docstring's first line says.

    Args:
        subject: what to look at.
    """

    def __init__(self, subject: ProofContext) -> None:
        self.subject = subject

    def check_before(self) -> None:
        """Checks what holds before the first step, and notes what has to change or stay.

        Raises:
            ProofError: it does not hold.
        """

    def check_after(self) -> None:
        """Checks what holds after the last step.

        Raises:
            ProofError: it does not hold.
        """


def require(holds: bool, found: str) -> None:
    """Raises what was found unless the fact holds."""
    if not holds:
        raise ProofError(found)


def allclose(one: Tensor, other: Tensor, tolerance: float | None = None) -> bool:
    """Whether two tensors are equal but for rounding.

    Args:
        one: any shape.
        other: the same shape; its precision decides what counts as rounding.
        tolerance: else, the share of the largest number by which they may differ.
    """
    tolerance = _TOLERANCE.get(other.dtype, 3e-2) if tolerance is None else tolerance
    size = max(float(one.abs().max()), float(other.abs().max()), 1e-12)
    return float((one.float() - other.float()).abs().max()) <= tolerance * size


def delta_weight(layer: LoraLayer) -> Tensor:
    """What the adapter adds to a layer's weight, shape as the weight."""
    found: Tensor = layer.get_delta_weight(NAME)  # type: ignore[attr-defined]
    return found


PROOFS: Final[Registry[type[Proof]]] = Registry("proof")


class StartsAsBase(Proof):
    """Before the first step the logits (or what a new head is given) are the base's."""

    def check_before(self) -> None:
        """Runs the probe through base and adapter."""
        subject = self.subject
        found = token_classifier.probe_output(subject.adapter.base, subject.ids)
        headed = token_classifier.find_head(subject.adapter.base) is not None
        what = "what the head is given differs" if headed else "logits differ"
        require(allclose(found, subject.reading), f"{what} from the base's at first")


class BZero(Proof):
    """B is zero at first, and has moved at the end."""

    def check_before(self) -> None:
        """Looks at every B."""
        found = self.subject.parts("lora_B")
        require(bool(found), "there is no B")
        require(not any(bool(b.any()) for b in found.values()), "B is not zero at first")

    def check_after(self) -> None:
        """Looks for a B that is still zero everywhere."""
        found = self.subject.parts("lora_B")
        require(any(bool(b.any()) for b in found.values()), "no B has moved")


class Scale(Proof):
    """The factor on B A is the one that rank and alpha ask for."""

    def check_before(self) -> None:
        """Asks each layer for its update with A and B set to known numbers, and sets them back."""
        adapter = self.subject.adapter
        layers = self.subject.lora()
        require(bool(layers), "no layer has an A and a B")
        for name, layer in layers.items():
            rank = adapter.config.rank
            if adapter.config.level("rank_pattern") != "none":  # alpha is one for all
                rank = int(layer.r[NAME])
            wanted = adapter.variant.scale(rank, adapter.config.alpha)
            found = _factor(layer)
            require(abs(found / wanted - 1) < 1e-2, f"{name}: scale {found:.4g}, not {wanted:.4g}")


class BFaster(Proof):
    """The optimiser holds every B at its ratio times the rate of A."""

    def check_before(self) -> None:
        """Looks at the optimiser's groups, the ratio being the variant's."""
        adapter = self.subject.adapter
        ratio = adapter.variant.optimiser.get("b_rate_ratio", 1.0)
        if adapter.config.level("b_rate_ratio") != "own":
            ratio = float(adapter.config.level("b_rate_ratio"))
        require(ratio != 1.0, "the rates of A and B are the same")
        rates = {id(p): group["peak"] for group in self.subject.groups for p in group["params"]}
        named = dict(adapter.base.named_parameters())
        first = {rates.get(id(p)) for name, p in named.items() if ".lora_A." in name}
        second = {rates.get(id(p)) for name, p in named.items() if ".lora_B." in name}
        require(len(first) == 1 and len(second) == 1, f"several rates: A {first}, B {second}")
        a, b = first.pop(), second.pop()
        require(a is not None and b is not None, "the optimiser does not hold A or B")
        assert a is not None
        assert b is not None
        require(abs(b / a / ratio - 1) < 1e-6, f"B learns {b / a:g} times as fast, not {ratio:g}")


class Magnitude(Proof):
    """Each output has a magnitude, which has moved at the end."""

    def check_before(self) -> None:
        """Counts the magnitudes."""
        self._first = self.subject.parts("lora_magnitude_vector")
        outputs = [layer.out_features for layer in self.subject.lora().values()]
        found = [vector.numel() for vector in self._first.values()]
        require(found == outputs, f"{len(found)} layers of {len(outputs)} have magnitudes")

    def check_after(self) -> None:
        """Compares them with the first ones."""
        last = self.subject.parts("lora_magnitude_vector")
        still = [name for name in last if torch.equal(last[name], self._first[name])]
        require(not still, f"{len(still)} magnitudes have not moved")


class Cancelling(Proof):
    """A and B are both non-zero at first, and their product is zero."""

    def check_before(self) -> None:
        """Multiplies them."""
        for name, layer in self.subject.lora().items():
            a, b = (part[NAME].get_parameter("weight") for part in (layer.lora_A, layer.lora_B))
            require(bool(a.any()) and bool(b.any()), f"{name}: A or B is zero at first")
            size = float(a.norm() * b.norm())
            require(float((b @ a).norm()) <= 1e-4 * size, f"{name}: B A is not zero at first")


class AFrozen(Proof):
    """A is not trained, and is at the end what it was at first."""

    def check_before(self) -> None:
        """Looks for A among what is trained."""
        self._first = self.subject.parts("lora_A")
        require(bool(self._first), "there is no A")
        held = {id(p) for group in self.subject.groups for p in group["params"]}
        named = self.subject.adapter.base.named_parameters()
        trained = [n for n, p in named if ".lora_A." in n and (p.requires_grad or id(p) in held)]
        require(not trained, f"{len(trained)} A are trained")

    def check_after(self) -> None:
        """Compares with the first."""
        last = self.subject.parts("lora_A")
        moved = [name for name in last if not torch.equal(last[name], self._first[name])]
        require(not moved, f"{len(moved)} A have moved")


def _factor(layer: LoraLayer) -> float:
    """The factor on B A, found by setting A and B to ones for the time being.

    AdaLoRA's quantised layers cannot tell their update: there it is what one input adds.
    """
    names = ("lora_A", "lora_B", "lora_E")
    held: list[tuple[torch.nn.Parameter, Tensor]] = []
    for name in names:
        for part in (getattr(layer, name)[NAME],) if hasattr(layer, name) else ():
            weight = part if isinstance(part, torch.nn.Parameter) else part.weight
            held.append((weight, weight.data))
            weight.data = torch.ones_like(weight.data)
    try:
        rank = held[0][0].shape[0]
        if hasattr(layer, "get_delta_weight"):
            return float(delta_weight(layer).flatten()[0]) / rank
        assert isinstance(layer, torch.nn.Module)
        one = torch.zeros(1, int(layer.in_features or 0), device=held[0][0].device)
        one[0, 0] = 1.0
        return float((layer(one) - layer.get_base_layer()(one))[0, 0]) / rank
    finally:
        for weight, data in held:
            weight.data = data


class Quantised(Proof):
    """The frozen weights below the adapter really are 4-bit codes, their scales coded too."""

    def check_before(self) -> None:
        """Looks at every layer; 8-bit bases hold whole bytes."""
        for name, layer in self.subject.adapter.layers().items():
            weight = layer.get_base_layer().get_parameter("weight")
            if self.subject.adapter.base.config.quantization_config.load_in_8bit:
                require(weight.dtype == torch.int8, f"{name}: its weight is {weight.dtype}")
                continue
            state: Any = getattr(weight, "quant_state", None)
            require(weight.dtype == torch.uint8, f"{name}: its weight is {weight.dtype}")
            require(state is not None and state.quant_type == "nf4", f"{name}: no NF4 code")
            require(state.nested, f"{name}: its scales are not quantised")


class HeadTrained(Proof):
    """The new head is drawn, is trained whole, and has moved at the end."""

    def check_before(self) -> None:
        """Looks for the head among what the optimiser holds."""
        self._first = {name: part.detach().clone() for name, part in self._parts().items()}
        held = {id(p) for group in self.subject.groups for p in group["params"]}
        gone = [name for name, part in self._parts().items() if id(part) not in held]
        require(bool(self._first) and not gone, "the head is not trained")
        require(all(bool(p.any()) for p in self._first.values() if p.ndim > 1), "it is not drawn")

    def check_after(self) -> None:
        """Compares it with its first weights."""
        still = [n for n, part in self._parts().items() if torch.equal(part, self._first[n])]
        require(not still, f"{len(still)} weights of the head have not moved")

    def _parts(self) -> dict[str, torch.nn.Parameter]:
        found = token_classifier.find_head(self.subject.adapter.base)
        named = () if found is None else found.module.named_parameters()
        return {name: part for name, part in named if part.requires_grad}


for _name, _proof in {
    "starts_as_base": StartsAsBase,
    "b_zero": BZero,
    "scale": Scale,
    "b_faster": BFaster,
    "magnitude": Magnitude,
    "cancelling": Cancelling,
    "a_frozen": AFrozen,
    "quantised": Quantised,
    "head_trained": HeadTrained,
}.items():
    PROOFS.add(_name, _proof)
