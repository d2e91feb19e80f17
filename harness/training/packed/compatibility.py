"""Says which bases, tasks and configurations can share a step; the rest is trained alone.

A base fits if its own layers, run with sequences end to end, give the logits that it gives for
each sequence by itself: this is tried, not looked up. Knows nothing of trials in progress.
"""

import inspect
import math
from typing import Final

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.config.variants import FULL, Variant
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.training.losses import in_float32
from harness.training.packed.layers import PackedLinear, packed_layers
from harness.training.packed.layout import Layout, use_layout, use_packed_attention
from harness.training.packed.prefix_cache import OwnLayers
from harness.trial import EXTRA_SETTINGS, TrialConfig

#: Kinds of adapters whose layers are a plain A and B once they have started.
_KINDS: Final = frozenset({"lora", "eva", "decomposed"})
#: Settings of a trial that a shared step takes at any level.
_FREE: Final = frozenset({"b_rate_ratio", "layers", "rank_pattern"})
#: Logits may differ by this share of their norm, by the base's precision. In half precision 48
#: layers of rounding came to 0.04, sequences that see each other to 0.5 and more.
_TOLERANCE: Final = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE: Final = 0.15
#: Sliding windows up to this many tokens are tried with a sequence that is longer.
_WINDOW: Final = 512
_LINEAR: Final = (nn.Linear, Conv1D)


def layers(model: PreTrainedModel) -> tuple[str, ...]:
    """Names of the linear layers that can be shared: plain and 4-bit ones, the head apart."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return tuple(
        name
        for name, module in model.named_modules()
        if (type(module) in _LINEAR or base_model.is_4bit(module)) and module is not head
    )


def why_base_not_packable(base: BaseModel) -> str | None:
    """Why adapters on this base cannot share a step; None where they can."""
    model = base.model
    told = model.config.model_type
    quantised = getattr(model.config, "quantization_config", None) is not None
    if quantised and not any(base_model.is_4bit(module) for module in model.modules()):
        return "its weights are quantised, and not in 4 bits"
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return f"{told} computes all logits"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return f"{told} takes no positions"
    chunk = getattr(model.config.get_text_config(), "attention_chunk_size", None)
    if chunk is not None:
        return f"{told} attends in chunks of {chunk} tokens"
    try:
        same = _keeps_apart(base)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, AssertionError):
        same = False
    return None if same else f"{told} does not keep sequences apart that lie end to end"


@torch.no_grad()
def supports_prefix_cache(base: BaseModel) -> bool:
    """Whether a base's own layers can go on from what the lower ones made of a text before.

    Tried at the first, the middle and the last layer: some models hand more from layer to layer
    than one stream.
    """
    model = base.model
    packed = {
        name: PackedLinear(model.get_submodule(name), torch.zeros(())) for name in layers(model)
    }
    own = OwnLayers(model, packed, together=True)
    ids, layout = _probe(base)
    with packed_layers(packed), use_packed_attention(model), use_layout(layout):
        whole, others = _joint(base, ids, layout), ids.flip(0)
        for level in sorted({1, own.count // 2, own.count - 1} - {0, -1}):
            try:
                rows = own.below.rows(level, ids, layout)
                _joint(base, others, layout)  # nothing else of these tokens may be left behind
                with own.entered(level, rows):
                    found = _joint(base, others, layout)
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                return False
            if not _alike(found, whole):
                return False
    return own.count > 1


@torch.no_grad()
def _keeps_apart(base: BaseModel) -> bool:
    """Whether sequences end to end say what each says by itself."""
    ids, layout = _probe(base)
    with use_packed_attention(base.model), use_layout(layout):
        joint = _joint(base, ids, layout)
    return _alike(joint, _alone(base, ids, layout))


def _probe(base: BaseModel) -> tuple[torch.Tensor, Layout]:
    """Three sequences of unlike lengths, one of them longer than a small window."""
    config = base.model.config.get_text_config()
    size = int(config.vocab_size)
    window = getattr(config, "sliding_window", None) or 0
    longest = max(40, window + 8 if window <= _WINDOW else 0)
    room = base.context or longest
    lengths = tuple(min(length, room) for length in (9, longest, 17))
    ids = torch.arange(sum(lengths), device=base.device) * 7919 % size
    return ids, Layout((), lengths, device=base.device)


def _joint(base: BaseModel, ids: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Logits of all sequences in one pass, end to end."""
    places = layout.positions
    found = base.model(input_ids=ids[None], position_ids=places, use_cache=False).logits[0]
    assert isinstance(found, torch.Tensor)
    return found


def _alone(base: BaseModel, ids: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Logits of each sequence by itself, one below the other."""
    parts = torch.split(ids, [*layout.lengths])
    return torch.cat([base.model(input_ids=one[None], use_cache=False).logits[0] for one in parts])


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether logits differ by rounding alone; `other` is in the base's precision."""
    bound = _TOLERANCE.get(other.dtype, _HALF_TOLERANCE)
    one, other = in_float32(one), in_float32(other)
    return float((one - other).norm()) <= bound * float(other.norm()) < math.inf


def why_not_packable(config: TrialConfig, variant: Variant) -> str | None:
    """Why a configuration cannot share a step; None where it can."""
    if variant.method not in _KINDS or variant.name == FULL.name:
        return f"variant {variant.name} has layers of its own"
    if variant.method == "decomposed" and variant.peft.get("use_dora"):
        return f"variant {variant.name}: its magnitudes are of weights that it takes apart"
    for name, usual in EXTRA_SETTINGS.items():
        if name not in _FREE and config.level(name) != usual:
            return f"{name}: {config.level(name)}"
    return None
