"""Puts an adapter on the shared base through PEFT, and takes it off again.

Knows variants and kinds of adapters, nothing of data, optimisers or trials in progress.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, PreTrainedModel

from harness.adapters import kinds, proofs
from harness.adapters.adapter import ADAPTERS, Adapter, Circumstances
from harness.adapters.fused_lora import fuse
from harness.adapters.quick_dropout import quicken
from harness.models.base_model import BaseModel, freeze, load_config
from harness.registry import Registry
from harness.seeds import Purpose, derive
from harness.settings import ModelSettings
from harness.trial import TrialConfig
from harness.variants import VARIANTS, Variant, resolve

#: Kinds of adapters and proofs register themselves when they are imported.
_REGISTERED = (kinds, proofs)


def make(
    base: PreTrainedModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    given: Circumstances | None = None,
) -> Adapter:
    """The adapter of a configuration, not put on yet.

    Args:
        base: with or without weights; no adapter attached.
        config: the adapter.
        variants: where to look the variant up.
        given: what the adapter's start may depend on.

    Raises:
        UserError: unknown variant, or target modules that match no layer.
    """
    variant = resolve(config.variant, variants)
    return ADAPTERS.get(variant.kind)(base, config, variant, given or Circumstances())


@contextmanager
def attached(
    base: BaseModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    given: Circumstances | None = None,
) -> Iterator[Adapter]:
    """The base with a fresh adapter, initialised from the trial's own generator.

    The layers of `base.model` are wrapped in place, so that calling `base.model` runs the adapter
    too; on leaving, whatever happened, they are unwrapped, and weights that the adapter replaced
    are put back. The global random state is left as it was found. The base stays in evaluation
    mode: `config.dropout` is the only dropout.

    Args:
        base: no adapter may be attached to it.
        config: the adapter.
        variants: where to look the variant up.
        given: what the adapter's start may depend on.

    Yields:
        The adapter; its weights are float32, those that are trained require a gradient.
    """
    adapter = make(base.model, config, variants, given)
    frozen = [(weight, weight.data) for weight in base.model.parameters()]
    try:
        with torch.random.fork_rng(devices=[base.device] if base.device.type == "cuda" else []):
            torch.manual_seed(derive(config.seed, Purpose.INITIALISATION))
            adapter.put_on()
        quicken(base.model)
        fuse(base.model)
        adapter.settle(base.name)
        yield adapter
    finally:
        adapter.take_off()
        for weight, data in frozen:
            if weight.data_ptr() != data.data_ptr():
                weight.data = data
        base.model.requires_grad_(False)


def dropout_mode(model: torch.nn.Module, on: bool) -> None:
    """Turns the adapter's dropout on for training or off for scoring; the base has none."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.train(on)


def save(adapter: Adapter, folder: str | Path) -> Path:
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
        adapter.save(scratch)
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
    """Trainable parameters of a configuration at the start, counted without weights.

    Args:
        model: which base, or a base that is already there (with or without weights).
        config: the adapter.
        variants: where to look the variant up.

    Raises:
        UserError: no such model, variant or target modules.
    """
    base = skeleton(model) if isinstance(model, ModelSettings) else model
    adapter = make(base, config, variants)
    try:
        with torch.device("meta"):
            adapter.put_on_empty()
        return sum(each.numel() for each in base.parameters() if each.requires_grad)
    finally:
        adapter.take_off()
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
