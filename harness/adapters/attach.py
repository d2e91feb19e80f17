"""Attaches an adapter to the shared base model through PEFT, removes, counts and saves it."""

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

from harness.adapters import methods, proofs
from harness.adapters.adapter import ADAPTERS, Adapter, InitContext
from harness.adapters.fast_layers import fuse_lora_layers, use_fast_dropout
from harness.config.settings import GENERATION, Head, ModelSettings
from harness.config.variants import VARIANTS, Variant, resolve_variant
from harness.models import token_classifier
from harness.models.base_model import BaseModel, freeze, load_config
from harness.registry import Registry
from harness.trial import Purpose, TrialConfig, derive_seed

#: Imported because adapter methods and proofs register themselves on import.
_REGISTERED = (methods, proofs)


def create_adapter(
    base: PreTrainedModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    context: InitContext | None = None,
) -> Adapter:
    """The adapter of a configuration, not injected yet.

    Args:
        base: with or without weights; no adapter attached.
        config: the adapter's configuration.
        variants: registry in which to look up the variant.
        context: what the initialization may depend on.

    Raises:
        UserError: unknown variant, or target modules that match no layer.
    """
    variant = resolve_variant(config.variant, variants)
    return ADAPTERS.get(variant.method)(base, config, variant, context or InitContext())


@contextmanager
def attached_adapter(
    base: BaseModel,
    config: TrialConfig,
    variants: Registry[Variant] = VARIANTS,
    context: InitContext | None = None,
) -> Iterator[Adapter]:
    """The base model with a new adapter, initialised from the trial's own generator.

    The layers of `base.model` are wrapped in place, so that calling `base.model` runs the adapter
    too. On exit, also after an error, they are unwrapped, and weights that the adapter or a new
    head replaced are restored. The global random state is not changed. The base stays in
    evaluation mode: `config.dropout` is the only dropout.

    Arguments are those of `create_adapter`.

    Yields:
        The adapter; its weights are float32, trainable ones require a gradient.
    """
    adapter = create_adapter(base.model, config, variants, context)
    base_weights = [(weight, weight.data) for weight in base.model.parameters()]
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
        # PiSSA, LoftQ, full fine-tuning and a new head replace `data`, never write into it.
        for weight, data in base_weights:
            if weight.data_ptr() != data.data_ptr():
                weight.data = data
        base.model.requires_grad_(False)


def set_dropout(model: torch.nn.Module, on: bool) -> None:
    """Switches the adapter's dropout on (training) or off (scoring); the base has none."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.train(on)


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Saves adapter weights and configuration; the folder appears complete or not at all.

    Args:
        adapter: as yielded by `attached_adapter`.
        folder: target folder; an existing one is replaced.

    Returns:
        The folder, with `adapter_config.json` and `adapter_model.safetensors`; with a
        token-classification head also `labels.json`, the labels of its outputs in order.
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
    """Trainable parameters of a configuration before training, counted without weights.

    Args:
        model: settings of a base model, or a loaded one (with or without weights).
        config: the adapter's configuration.
        variants: where its variant is looked up.
        head: head of a model given by its settings; a new head is trained, so it counts.

    Raises:
        UserError: no such model, variant or target modules.
    """
    base = empty_base_model(model, head) if isinstance(model, ModelSettings) else model
    adapter = create_adapter(base, config, variants)
    try:
        with torch.device("meta"):
            adapter.inject_without_init()
        return sum(parameter.numel() for parameter in base.parameters() if parameter.requires_grad)
    finally:
        adapter.remove()
        base.requires_grad_(False)


@lru_cache(maxsize=4)
def empty_base_model(settings: ModelSettings, head: Head = GENERATION) -> PreTrainedModel:
    """The base model without weights, on the meta device: module names and shapes alone.

    Raises:
        UserError: no such model, or it cannot have this head.
    """
    config = load_config(settings, head)
    with torch.device("meta"):
        model = token_classifier.empty_model(config, head)
    freeze(model)
    return model
