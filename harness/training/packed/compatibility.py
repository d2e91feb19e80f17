"""Which bases, tasks and configurations can share a step; all others are trained alone.

A base can be packed if its own layers, run with sequences end to end, give the logits that it
gives for each sequence by itself: this is tried, not looked up by the model's name.
"""

import inspect
import math
from typing import Final

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.config.variants import Variant
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import AnswerMode, Task
from harness.training.losses import in_float32
from harness.training.packed.layers import PackedLinear, packed_layers
from harness.training.packed.layout import Layout, use_layout, use_packed_attention
from harness.training.packed.prefix_cache import PrefixSkipper
from harness.trial import EXTRA_SETTINGS, TrialConfig

#: Settings that each slot can have at a level of its own; others only at their default.
_SETTINGS_BY_SLOT: Final = frozenset({"b_rate_ratio", "layers", "rank_pattern"})
#: Logits may differ by this share of their norm, by the base's precision. In half precision 48
#: layers of rounding came to 0.04, sequences that see each other to 0.5 and more.
_TOLERANCE: Final = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE: Final = 0.15
#: Sliding windows up to this many tokens are tried with a sequence that is longer.
_MAX_WINDOW: Final = 512
_LINEAR: Final = (nn.Linear, Conv1D)
#: What models raise that take no packed attention, or no rows in the place of their lower layers.
_MODEL_ERRORS: Final = (TypeError, ValueError, RuntimeError, AttributeError, IndexError)


def packable_layers(model: PreTrainedModel) -> tuple[str, ...]:
    """Names of the linear layers that can be shared: plain and 4-bit ones, without the head."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return tuple(
        name
        for name, module in model.named_modules()
        if (type(module) in _LINEAR or base_model.is_4bit(module)) and module is not head
    )


def why_not_packable(base: BaseModel, task: Task) -> str | None:
    """Why no adapters can share a step on this base, for this task; None where they can."""
    if task.type.answers is AnswerMode.TAGGED:
        return "a head that tags tokens belongs to one adapter"
    return why_base_not_packable(base)


def why_base_not_packable(base: BaseModel) -> str | None:
    """Why adapters on this base cannot share a step; None where they can."""
    model = base.model
    name = model.config.model_type
    quantised = getattr(model.config, "quantization_config", None) is not None
    if quantised and not any(base_model.is_4bit(module) for module in model.modules()):
        return "its weights are quantised, and not in 4 bits"
    parameters = inspect.signature(model.forward).parameters
    if "logits_to_keep" not in parameters:
        return f"{name} computes all logits"
    if "position_ids" not in parameters:
        return f"{name} takes no positions"
    chunk = getattr(model.config.get_text_config(), "attention_chunk_size", None)
    if chunk is not None:
        return f"{name} attends in chunks of {chunk} tokens"
    try:
        separate = _keeps_sequences_apart(base)
    except (*_MODEL_ERRORS, AssertionError):
        separate = False
    return None if separate else f"{name} does not keep sequences apart that lie end to end"


def why_config_not_packable(config: TrialConfig, variant: Variant) -> str | None:
    """Why a configuration cannot share a step; None where it can."""
    if not variant.packable:
        return f"variant {variant.name} has layers of its own"
    if variant.method == "decomposed" and variant.peft.get("use_dora"):
        return f"variant {variant.name}: its magnitudes are of weights that it decomposes"
    for name, default in EXTRA_SETTINGS.items():
        if name not in _SETTINGS_BY_SLOT and config.level(name) != default:
            return f"{name}: {config.level(name)}"
    return None


@torch.no_grad()
def supports_prefix_cache(base: BaseModel) -> bool:
    """Whether a base's layers can start from hidden states that the lower ones made before.

    Tried at the first, the middle and the last layer: some models hand more from layer to layer
    than the hidden states.
    """
    model = base.model
    packed = {
        name: PackedLinear(model.get_submodule(name), torch.zeros(()))
        for name in packable_layers(model)
    }
    skipper = PrefixSkipper(model, packed, batched=True)
    ids, layout = _probe(base)
    with packed_layers(packed), use_packed_attention(model), use_layout(layout):
        expected, other_ids = _joint_logits(base, ids, layout), ids.flip(0)
        for layer in sorted({1, skipper.count // 2, skipper.count - 1} - {0, -1}):
            try:
                states = skipper.cache.hidden_states(layer, ids, layout)
                # A pass of other tokens overwrites what a layer may have kept of these.
                _joint_logits(base, other_ids, layout)
                with skipper.start_at(layer, states):
                    logits = _joint_logits(base, other_ids, layout)
            except _MODEL_ERRORS:
                return False
            if not _are_close(logits, expected):
                return False
    return skipper.count > 1


@torch.no_grad()
def _keeps_sequences_apart(base: BaseModel) -> bool:
    """Whether sequences end to end give the logits that each gives by itself."""
    ids, layout = _probe(base)
    with use_packed_attention(base.model), use_layout(layout):
        joint = _joint_logits(base, ids, layout)
    texts = torch.split(ids, [*layout.lengths])
    separate = [base.model(input_ids=text[None], use_cache=False).logits[0] for text in texts]
    return _are_close(joint, torch.cat(separate))


def _probe(base: BaseModel) -> tuple[torch.Tensor, Layout]:
    """Three sequences of different lengths, one of them longer than a small window."""
    config = base.model.config.get_text_config()
    vocabulary = int(config.vocab_size)
    window = getattr(config, "sliding_window", None) or 0
    longest = max(40, window + 8 if window <= _MAX_WINDOW else 0)
    context = base.context or longest
    lengths = tuple(min(length, context) for length in (9, longest, 17))
    # Multiples of a prime spread the tokens over the vocabulary.
    ids = torch.arange(sum(lengths), device=base.device) * 7919 % vocabulary
    return ids, Layout((), lengths, device=base.device)


def _joint_logits(base: BaseModel, ids: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Logits of all sequences in one pass, end to end."""
    outputs = base.model(input_ids=ids[None], position_ids=layout.positions, use_cache=False)
    logits = outputs.logits[0]
    assert isinstance(logits, torch.Tensor)
    return logits


def _are_close(logits: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether logits differ by rounding alone; `expected` is in the base's precision."""
    bound = _TOLERANCE.get(expected.dtype, _HALF_TOLERANCE)
    logits, expected = in_float32(logits), in_float32(expected)
    return float((logits - expected).norm()) <= bound * float(expected.norm()) < math.inf
