"""Puts an adapter on the shared base through PEFT, and takes it off again.

Knows variants and kinds of adapters, nothing of data, optimisers or trials in progress.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from harness.adapters import methods as kinds
from harness.adapters import proofs
from harness.adapters.adapter import ADAPTERS, Adapter, InitContext
from harness.adapters.fast_layers import fuse_lora_layers, use_fast_dropout
from harness.config.settings import GENERATION, Head, ModelSettings
from harness.config.variants import VARIANTS, Variant, resolve
from harness.models import token_classifier
from harness.models.base_model import BaseModel, freeze, load_config
from harness.registry import Registry
from harness.trial import Purpose, TrialConfig, derive_seed

#: Kinds of adapters and proofs register themselves when they are imported.
_REGISTERED = (kinds, proofs)


def create_adapter(
    base: PreTrainedModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    given: InitContext | None = None,
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
    return ADAPTERS.get(variant.method)(base, config, variant, given or InitContext())


@contextmanager
def attached_adapter(
    base: BaseModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    given: InitContext | None = None,
) -> Iterator[Adapter]:
    """The base with a fresh adapter, initialised from the trial's own generator.

    The layers of `base.model` are wrapped in place, so that calling `base.model` runs the adapter
    too; on leaving, whatever happened, they are unwrapped, and weights that were replaced (by the
    adapter, or of a head that each trial draws anew) are put back. The global random
    state is left as it was found. The base stays in evaluation mode: `config.dropout` is the only
    dropout.

    Args:
        base: no adapter may be attached to it.
        config: the adapter.
        variants: where to look the variant up.
        given: what the adapter's start may depend on.

    Yields:
        The adapter; its weights are float32, those that are trained require a gradient.
    """
    adapter = create_adapter(base.model, config, variants, given)
    frozen = [(weight, weight.data) for weight in base.model.parameters()]
    try:
        with torch.random.fork_rng(devices=[base.device] if base.device.type == "cuda" else []):
            token_classifier.init_head(base.model, derive_seed(config.seed, Purpose.HEAD))
            torch.manual_seed(derive_seed(config.seed, Purpose.INITIALISATION))
            adapter.inject()
        use_fast_dropout(base.model)
        fuse_lora_layers(base.model)
        adapter.finalize(base.name)
        yield adapter
    finally:
        adapter.remove()
        for weight, data in frozen:
            if weight.data_ptr() != data.data_ptr():
                weight.data = data
        base.model.requires_grad_(False)


def set_dropout(model: torch.nn.Module, on: bool) -> None:
    """Turns the adapter's dropout on for training or off for scoring; the base has none."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.train(on)


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Saves adapter weights and configuration, all or nothing.

    Args:
        adapter: as yielded by `attached_adapter`.
        folder: where to; what is there is replaced.

    Returns:
        The folder, with `adapter_config.json` and `adapter_model.safetensors`; with a head that
        tags tokens also `labels.json`, what its outputs stand for.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        adapter.save(scratch)
        labels = token_classifier.labels(adapter.base)
        if labels:
            (scratch / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
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
    head: Head = GENERATION,
) -> int:
    """Trainable parameters of a configuration at the start, counted without weights.

    Args:
        model: which base, or a base that is already there (with or without weights).
        config: the adapter.
        variants: where to look the variant up.
        head: what stands on a base that is not there yet; a new one is trained, so it counts.

    Raises:
        UserError: no such model, variant or target modules.
    """
    base = empty_base_model(model, head) if isinstance(model, ModelSettings) else model
    adapter = create_adapter(base, config, variants)
    try:
        with torch.device("meta"):
            adapter.inject_without_init()
        return sum(each.numel() for each in base.parameters() if each.requires_grad)
    finally:
        adapter.remove()
        base.requires_grad_(False)


@lru_cache(maxsize=4)
def empty_base_model(settings: ModelSettings, head: Head = GENERATION) -> PreTrainedModel:
    """The base without weights, on the meta device: names and shapes alone.

    Raises:
        UserError: no such model, or not one that can have this head.
    """
    config = load_config(settings, head)
    with torch.device("meta"):
        model = token_classifier.empty_model(config, head)
    freeze(model)
    return model
