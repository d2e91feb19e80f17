"""Puts a LoRA adapter on the shared base through PEFT, and takes it off again.

Knows variants and PEFT, nothing of data, optimisers or trials in progress.
"""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import UserError
from harness.registry import Registry
from harness.settings import ModelSettings
from harness.training.base_model import BaseModel, freeze, load_config
from harness.training.fused_lora import fuse
from harness.training.quick_dropout import quicken
from harness.training.seeds import Purpose, derive
from harness.training.targets import is_transposed, target_names
from harness.trial import TrialConfig
from harness.variants import VARIANTS, Variant

#: Kinds of layers whose weights can be added to.
_PLAIN: Final = frozenset({nn.Linear, Conv1D})
#: Weights that are copied for merged scoring at most: 256 MB. Larger models lose little unmerged.
_MERGED_NUMBERS: Final = 64_000_000


def lora_config(
    model: PreTrainedModel, config: TrialConfig, variants: Registry[Variant] = VARIANTS
) -> LoraConfig:
    """What PEFT must be told for this configuration on this model.

    Raises:
        UserError: unknown variant, or target modules that match no layer.
    """
    names = target_names(model, config.target_modules)
    return LoraConfig(
        r=config.rank,
        # PEFT declares a whole number, but only ever divides it.
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=list(names),
        fan_in_fan_out=is_transposed(model, names),
        task_type="CAUSAL_LM",
        **variants.get(config.variant).peft,
    )


@contextmanager
def attached(
    base: BaseModel, config: TrialConfig, variants: Registry[Variant] = VARIANTS
) -> Iterator[PeftModel]:
    """The base with a fresh adapter, initialised from the trial's own generator.

    The layers of `base.model` are wrapped in place, so that calling `base.model` runs the adapter
    too; on leaving, whatever happened, they are unwrapped. The global random state is left as it
    was found. The base stays in evaluation mode: `config.dropout` is the only dropout.

    Args:
        base: no adapter may be attached to it.
        config: the adapter.
        variants: where to look the variant up.

    Yields:
        PEFT's model, for saving; adapter weights are float32 and require a gradient.
    """
    keywords = lora_config(base.model, config, variants)
    cuda = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(derive(config.seed, Purpose.INITIALISATION))
        adapter = _wrap(base.model, keywords)
    try:
        quicken(base.model)
        fuse(base.model)
        keywords.base_model_name_or_path = base.name
        adapter.eval()
        yield adapter
    finally:
        adapter.unload()
        base.model.requires_grad_(False)


def dropout_mode(model: torch.nn.Module, on: bool) -> None:
    """Turns the adapter's dropout on for training or off for scoring; the base has none."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.train(on)


@contextmanager
def merged(model: PreTrainedModel) -> Iterator[None]:
    """Runs the attached adapter inside the base's matrices, which saves decoding a third.

    The sums are new tensors that take the place of the frozen ones for the time being; those are
    neither written to nor recomputed, but put back. Where the sum would be rounded (a base in half
    precision or quantised) or large (`_MERGED_NUMBERS`), and without an adapter, nothing happens.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    bases: list[nn.Module] = [layer.get_base_layer() for layer in layers]
    weights = [base.get_parameter("weight") for base in bases]
    plain = all(type(base) in _PLAIN for base in bases)
    full = all(weight.dtype == torch.float32 for weight in weights)
    if not (plain and full) or sum(weight.numel() for weight in weights) > _MERGED_NUMBERS:
        yield
        return
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


def save(adapter: PeftModel, folder: str | Path) -> Path:
    """Saves adapter weights and configuration, all or nothing.

    Args:
        adapter: as yielded by `attached`.
        folder: where to; what is there is replaced.

    Returns:
        The folder, with `adapter_config.json` and `adapter_model.safetensors`.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        adapter.save_pretrained(str(scratch), save_embedding_layers=False)
        (scratch / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        scratch.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def count_parameters(
    model: ModelSettings | PreTrainedModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
) -> int:
    """Trainable parameters of a configuration, counted without weights.

    Args:
        model: which base, or a base that is already there (with or without weights).
        config: the adapter.
        variants: where to look the variant up.

    Raises:
        UserError: no such model, variant or target modules.
    """
    base = skeleton(model) if isinstance(model, ModelSettings) else model
    keywords = lora_config(base, config, variants)
    # How an adapter starts (by a decomposition of weights, ...) does not change its size.
    keywords.init_lora_weights = True
    with torch.device("meta"):
        adapter = _wrap(base, keywords)
    try:
        return sum(each.numel() for each in adapter.parameters() if each.requires_grad)
    finally:
        adapter.unload()
        base.requires_grad_(False)


@lru_cache(maxsize=4)
def skeleton(settings: ModelSettings) -> PreTrainedModel:
    """The base without weights, on the meta device: names and shapes alone.

    Raises:
        UserError: no such model, or not one of a causal language model.
    """
    config = load_config(settings)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    freeze(model)
    return model


def _wrap(model: PreTrainedModel, keywords: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT asks Transformers by the old name of a property.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        try:
            adapter: PeftModel = get_peft_model(model, keywords)
        except ValueError as error:
            raise UserError(f"PEFT refuses this adapter: {error}") from error
    return adapter
