"""`Adapter`: how one adapter is put on the base, started, trained and saved; plain LoRA's way.

What a variant does otherwise is a class in `kinds/`, which registers itself here. Knows PEFT,
nothing of data files, optimisers or trials in progress.

Runs an adapter inside the base's matrices while answers are decoded.

Knows PEFT's layers, nothing of variants, data or trials.
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

from harness.adapters.targets import is_transposed, target_names
from harness.config.variants import Variant
from harness.errors import UserError
from harness.models import token_classifier
from harness.models.batches import TokenSequence
from harness.registry import Registry
from harness.trial import TrialConfig


@dataclass(frozen=True)
class InitContext:
    """What a start may depend on beside the configuration.

    Attributes:
        steps: optimiser steps of the trial.
        sequences: the training examples.
        pad: id of the padding token.
    """

    steps: int = 100
    sequences: tuple[TokenSequence, ...] = ()
    pad: int = 0


class Adapter:
    """One adapter on the shared base.

    Args:
        base: the frozen base; no adapter attached.
        config: the trial's configuration.
        variant: resolved.
        given: what the start may depend on.
    """

    def __init__(
        self, base: PreTrainedModel, config: TrialConfig, variant: Variant, given: InitContext
    ) -> None:
        self.base, self.config, self.variant, self.given = base, config, variant, given
        #: Module names of the targets, the shortest suffixes that match them and no others.
        self.targets = target_names(base, config.target_modules, str(config.level("layers")))
        self.transposed = is_transposed(base, self.targets)
        self._model: PeftModel | None = None

    @property
    def model(self) -> PeftModel:
        """PEFT's model, once the adapter is on."""
        assert self._model is not None, "the adapter is not on yet"
        return self._model

    def keywords(self) -> dict[str, Any]:
        """What all of PEFT's configurations of low-rank adapters are told."""
        config = self.config
        found: dict[str, Any] = {
            "target_modules": list(self.targets),
            "fan_in_fan_out": self.transposed,
            "task_type": token_classifier.task_type(self.base),
            "bias": config.level("bias"),
            **self.variant.peft,
        }
        if config.level("modules_to_save") != "none":
            found["modules_to_save"] = self._saved_modules()
        if config.level("rank_pattern") != "none":
            found["rank_pattern"] = self._rank_pattern()
        return found

    def _saved_modules(self) -> list[str]:
        names = str(self.config.level("modules_to_save")).split(",")
        there = [name for name, _ in self.base.named_modules()]
        found: list[str] = []
        for name in names:
            members = [one for one in there if one == name or one.endswith(f".{name}")]
            if not members:
                raise UserError(f"modules_to_save: '{name}' is no module of this model")
            found += members  # in full, for PEFT would take `norm` for every `..._layernorm`
        return found

    def _rank_pattern(self) -> dict[str, int]:
        pairs = (part.split(":") for part in str(self.config.level("rank_pattern")).split(","))
        found = {name: int(rank) for name, rank in pairs}
        for name in found:
            if not any(target == name or target.endswith(f".{name}") for target in self.targets):
                raise UserError(
                    f"rank_pattern: '{name}' is none of the targets ({', '.join(self.targets)})"
                )
        return found

    def peft_config(self) -> PeftConfig:
        """What PEFT must be told."""
        return LoraConfig(
            r=self.config.rank,
            # PEFT declares a whole number, but only ever divides it.
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            **self.keywords(),
        )

    def inject(self) -> None:
        """Wraps the base's layers; draws first weights from the global generator.

        Raises:
            UserError: PEFT refuses the configuration.
        """
        self._wrap(self.peft_config())

    def inject_without_init(self) -> None:
        """The same without a start of its own: how an adapter starts does not change its size."""
        config = self.peft_config()
        if isinstance(config, LoraConfig):
            config.init_lora_weights = True
        self._wrap(config)

    def finalize(self, name: str) -> None:
        """Evaluation mode, and the base's name for the adapter's file."""
        if self._model is not None:
            self._model.peft_config["default"].base_model_name_or_path = name
            self._model.eval()

    def remove(self) -> None:
        """Unwraps the base's layers, also after `put_on` failed half way."""
        # PEFT's own unloading would leave the trained copy of a module in the base.
        for name, module in [*self.base.named_modules()]:
            if isinstance(module, ModulesToSaveWrapper):
                self._put_back(name, module.original_module)
        if self._model is not None:
            self._model.unload()
        for name, layer in self.layers().items():
            self._put_back(name, layer.get_base_layer())

    def _put_back(self, name: str, module: torch.nn.Module) -> None:
        parent, _, leaf = name.rpartition(".")
        setattr(self.base.get_submodule(parent), leaf, module)

    def layers(self) -> dict[str, BaseTunerLayer]:
        """The wrapped layers by name."""
        return {
            name: module
            for name, module in self.base.named_modules()
            if isinstance(module, BaseTunerLayer)
        }

    def regularization_loss(self) -> torch.Tensor | None:
        """What is added to the loss of each step; None for nothing. No score ever sees it."""
        return None

    def after_step(self, step: int) -> None:
        """Called after each optimiser step, before the gradients are cleared.

        Args:
            step: steps done, from 1.
        """

    def save(self, folder: Path) -> None:
        """Writes a standard PEFT folder; the folder is there and empty."""
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    def _wrap(self, config: PeftConfig) -> None:
        with warnings.catch_warnings():
            # PEFT asks Transformers by the old name of a property.
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
                parameter.data = parameter.data.clone()  # the base's own stays as it is
            if any(f".{frozen}." in name for frozen in self.variant.frozen):
                parameter.requires_grad_(False)


#: Kinds of adapters by the name that `Variant.kind` gives.
ADAPTERS: Final[Registry[type[Adapter]]] = Registry("kind of adapter")
ADAPTERS.add("lora", Adapter)


#: Kinds of layers whose weights can be added to.
_PLAIN: Final = frozenset({nn.Linear, Conv1D})
#: Weights that are copied for merged scoring at most: 256 MB. Larger models lose little unmerged.
_MERGED_NUMBERS: Final = 64_000_000


def can_merge(layers: Iterable[BaseTunerLayer]) -> bool:
    """Whether adapters can run inside the base's matrices, unrounded and without large copies."""
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    plain = all(type(base) in _PLAIN for base in bases)
    full = all(weight.dtype == torch.float32 for weight in weights)
    return plain and full and sum(weight.numel() for weight in weights) <= _MERGED_NUMBERS


@contextmanager
def merged(model: PreTrainedModel) -> Iterator[None]:
    """Runs the attached adapter inside the base's matrices, which saves decoding a third.

    The sums are new tensors that take the place of the frozen ones for the time being; those are
    neither written to nor recomputed, but put back. Where the sum would be rounded (a base in half
    precision or quantised) or large (`_MERGED_NUMBERS`), and without an adapter, nothing happens.
    """
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if not can_merge(layers):
        yield
        return
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    frozen = [weight.data for weight in weights]
    before = [layer.__dict__.get("forward") for layer in layers]
    try:
        with torch.no_grad():
            for layer, base in zip(layers, bases, strict=True):
                layer.merge(safe_merge=True)  # makes a new tensor, unlike an unsafe merge
                layer.forward = base.forward  # past PEFT's checks, which cost as much as the rest
        yield
    finally:
        for layer, weight, data, forward in zip(layers, weights, frozen, before, strict=True):
            weight.data = data
            layer.merged_adapters.clear()
            layer.__dict__.pop("forward", None)
            if forward is not None:
                layer.forward = forward
