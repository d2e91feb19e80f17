"""`Adapter`: injects one PEFT adapter into the base model, initializes, saves and merges it.

The class itself is plain LoRA. A method that starts, steps or is saved in its own way is a
subclass in `harness.adapters.methods`, which registers itself in `ADAPTERS`.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.adapters.targets import has_suffix, is_transposed, target_names
from harness.config.variants import Variant
from harness.errors import UserError
from harness.models import token_classifier
from harness.models.base_model import replaced_forwards
from harness.models.batches import TokenSequence
from harness.models.memory import MEMORY
from harness.registry import Registry
from harness.trial import TrialConfig


@dataclass(frozen=True)
class InitContext:
    """What an initialization may depend on besides the configuration.

    Attributes:
        steps: optimizer steps of the trial.
        sequences: the training examples as tokens.
        pad: id of the padding token.
    """

    steps: int = 100
    sequences: tuple[TokenSequence, ...] = ()
    pad: int = 0


class Adapter:
    """One adapter on the shared base model.

    Args:
        base: the frozen base model, without an adapter.
        config: the trial's configuration.
        variant: the resolved variant.
        context: what the initialization may depend on.

    Raises:
        UserError: the target modules match no layer.
    """

    def __init__(
        self, base: PreTrainedModel, config: TrialConfig, variant: Variant, context: InitContext
    ) -> None:
        self.base, self.config, self.variant, self.context = base, config, variant, context
        #: Module names of the targets, the shortest suffixes that match them and no others.
        self.targets = target_names(base, config.target_modules, str(config.level("layers")))
        self.transposed = is_transposed(base, self.targets)
        self._model: PeftModel | None = None

    @property
    def model(self) -> PeftModel:
        """PEFT's model, once the adapter is injected."""
        assert self._model is not None, "the adapter has not been injected yet"
        return self._model

    def keywords(self) -> dict[str, Any]:
        """Arguments that PEFT's configurations of all low-rank methods share."""
        config = self.config
        keywords: dict[str, Any] = {
            "target_modules": list(self.targets),
            "fan_in_fan_out": self.transposed,
            "task_type": token_classifier.task_type(self.base),
            "bias": config.level("bias"),
            **self.variant.peft,
        }
        if config.level("modules_to_save") != "none":
            keywords["modules_to_save"] = self._saved_modules()
        if config.level("rank_pattern") != "none":
            keywords["rank_pattern"] = self._rank_pattern()
        return keywords

    def _saved_modules(self) -> list[str]:
        matches: list[str] = []
        for name in str(self.config.level("modules_to_save")).split(","):
            matching = [full for full, _ in self.base.named_modules() if has_suffix(full, name)]
            if not matching:
                raise UserError(f"modules_to_save: '{name}' is no module of this model")
            # Full names: PEFT matches by suffix and would take `norm` for every `..._layernorm`.
            matches += matching
        return matches

    def _rank_pattern(self) -> dict[str, int]:
        pairs = (part.split(":") for part in str(self.config.level("rank_pattern")).split(","))
        pattern = {name: int(rank) for name, rank in pairs}
        for name in pattern:
            if not any(has_suffix(target, name) for target in self.targets):
                raise UserError(
                    f"rank_pattern: '{name}' is none of the targets ({', '.join(self.targets)})"
                )
        return pattern

    def peft_config(self) -> PeftConfig:
        """PEFT's configuration of this adapter."""
        return LoraConfig(
            r=self.config.rank,
            # PEFT declares an integer, but only ever divides it.
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            **self.keywords(),
        )

    def inject(self) -> None:
        """Wraps the target layers; draws initial weights from torch's global generator.

        Raises:
            UserError: PEFT refuses the configuration.
        """
        self._wrap(self.peft_config())

    def inject_without_init(self) -> None:
        """Wraps the target layers with default initial weights, to count parameters."""
        config = self.peft_config()
        if isinstance(config, LoraConfig):
            config.init_lora_weights = True  # PiSSA, EVA etc. need weights, of the same size
        self._wrap(config)

    def finalize(self, name: str) -> None:
        """Sets evaluation mode and the base model's name that `adapter_config.json` records."""
        if self._model is not None:
            self._model.peft_config["default"].base_model_name_or_path = name
            self._model.eval()

    def remove(self) -> None:
        """Unwraps the target layers, also after `inject` failed half way."""
        # PEFT's own unloading would leave the trained copy of a module in the base.
        for name, module in [*self.base.named_modules()]:
            if isinstance(module, ModulesToSaveWrapper):
                self._restore_module(name, module.original_module)
        if self._model is not None:
            self._model.unload()
        for name, layer in self.layers().items():
            self._restore_module(name, layer.get_base_layer())

    def _restore_module(self, name: str, module: torch.nn.Module) -> None:
        parent, _, leaf = name.rpartition(".")
        setattr(self.base.get_submodule(parent), leaf, module)

    def layers(self) -> dict[str, BaseTunerLayer]:
        """The wrapped layers by name."""
        named = self.base.named_modules()
        return {name: module for name, module in named if isinstance(module, BaseTunerLayer)}

    def regularization_loss(self) -> torch.Tensor | None:
        """A term added to the training loss of each step; None for none. Scores leave it out."""
        return None

    def after_step(self, step: int) -> None:
        """Called after each optimizer step, from 1, before the gradients are cleared."""

    def save(self, folder: Path) -> None:
        """Writes a standard PEFT folder; `folder` exists and is empty."""
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    def _wrap(self, config: PeftConfig) -> None:
        with warnings.catch_warnings():
            # PEFT reads a property of Transformers by its deprecated name.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
            # Advice on memory for EVA, which matters for large batches of activations only.
            warnings.filterwarnings("ignore", message=".*low_cpu_mem_usage.*")
            try:
                self._model = get_peft_model(self.base, config)
            except ValueError as error:
                raise UserError(f"PEFT refuses this adapter: {error}") from error
        for module in self.base.modules():
            if isinstance(module, ModulesToSaveWrapper):  # `bias: all` would train both copies
                module.original_module.requires_grad_(False)
        for name, parameter in self.base.named_parameters():
            if name.endswith("bias") and parameter.requires_grad:
                parameter.data = parameter.data.clone()  # training must not write into the base
            if any(f".{frozen_part}." in name for frozen_part in self.variant.frozen):
                parameter.requires_grad_(False)


#: Adapter classes by `Variant.method`.
ADAPTERS: Final[Registry[type[Adapter]]] = Registry("adapter method")
ADAPTERS.add("lora", Adapter)

#: Layer classes whose weight is a plain matrix that an update can be added to.
_MERGEABLE: Final = frozenset({nn.Linear, Conv1D})


def can_merge(layers: Iterable[BaseTunerLayer]) -> bool:
    """Whether adapters can be merged into the base weights without rounding or large copies."""
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    plain = all(type(base) in _MERGEABLE for base in bases)
    exact = all(weight.dtype == torch.float32 for weight in weights)
    return plain and exact and sum(map(torch.numel, weights)) <= MEMORY.merge_limit


@contextmanager
def merged(model: PreTrainedModel) -> Iterator[None]:
    """Merges the attached adapter into copies of the base weights; decoding takes a third less.

    The frozen tensors are neither written to nor recomputed: the merged ones replace them within
    the context. Nothing happens where the merged weights would be rounded (a base in half
    precision or quantised) or large (`MemoryPolicy.merge_limit`), or without an adapter.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if not can_merge(layers):
        yield
        return
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    frozen = [weight.data for weight in weights]
    try:
        with torch.no_grad():
            for layer in layers:
                layer.merge(safe_merge=True)  # makes a new tensor, unlike an unsafe merge
        # Past PEFT's checks, which cost as much as the rest.
        with replaced_forwards(layers, [base.forward for base in bases]):
            yield
    finally:
        for layer, weight, data in zip(layers, weights, frozen, strict=True):
            weight.data = data
            layer.merged_adapters.clear()
