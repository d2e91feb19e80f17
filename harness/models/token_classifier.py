"""A head that tags tokens: how a base is loaded with one, where it is and what it is drawn from.

The base brings no such head, so each trial draws its own and trains it whole. Between trials it is
zero, which makes the base the same in every process. Knows nothing of adapters, tasks and trials.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from harness.config.settings import GENERATION, Head
from harness.errors import UserError

#: What Transformers calls such a head; PEFT trains modules of these names under TOKEN_CLS.
NAMES: Final = ("classifier", "score")

_TAGGERS: Final = frozenset(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values())


class TokenHead(NamedTuple):
    """A head on a model.

    Attributes:
        name: of the module.
        module: the head; PEFT's wrapper around it while an adapter is on.
    """

    name: str
    module: nn.Module


def find_head(model: nn.Module) -> TokenHead | None:
    """The model's head that tags tokens; None for a language model."""
    if type(model).__name__ not in _TAGGERS:
        return None
    there = (TokenHead(name, getattr(model, name)) for name in NAMES if hasattr(model, name))
    return next(there, None)


def task_type(model: nn.Module) -> str:
    """What PEFT calls the task of such a model."""
    return "CAUSAL_LM" if find_head(model) is None else "TOKEN_CLS"


def labels(model: PreTrainedModel) -> tuple[str, ...]:
    """What the outputs of a model's head stand for, in their order; none for a language model."""
    if find_head(model) is None:
        return ()
    named: Any = model.config.id2label
    return tuple(named[index] for index in range(len(named)))


def why_no_head(config: PretrainedConfig, head: Head) -> str | None:
    """Why a model of this configuration cannot have a head; None where it can."""
    made_for = tuple(config.architectures or ())
    told = ", ".join(made_for) or config.model_type
    if head != GENERATION:
        if config.model_type in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES:
            return None
        return f"cannot be given a head for token classification ({told})"
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    classes = {each for value in known.values() for each in _as_tuple(value)}
    if config.model_type in known and (not made_for or classes.intersection(made_for)):
        return None
    return f"is not a causal language model ({told})"


def put_labels(config: PretrainedConfig, head: Head) -> None:
    """Tells a configuration what its head will say."""
    if head != GENERATION:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: index for index, label in enumerate(head.labels)}
        if hasattr(config, "use_cache"):  # nothing is written token by token
            config.use_cache = False


def empty_model(config: PretrainedConfig, head: Head) -> PreTrainedModel:
    """A model of this configuration, its weights drawn or, on the meta device, not there."""
    maker = AutoModelForCausalLM if head == GENERATION else AutoModelForTokenClassification
    made: PreTrainedModel = maker.from_config(config)  # type: ignore[no-untyped-call]
    return made


def load(name: str, path: str, head: Head, keywords: Mapping[str, Any]) -> PreTrainedModel:
    """Loads a model with this head.

    Args:
        name: what the sweep calls it.
        path: folder or hub id.
        head: as asked for.
        keywords: of `from_pretrained`.

    Raises:
        UserError: parts of the model besides the head have no weights there, or the head is not
            one that can be trained beside an adapter.
    """
    if head == GENERATION:
        plain: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **keywords)
        return plain
    model, info = AutoModelForTokenClassification.from_pretrained(
        path, ignore_mismatched_sizes=True, output_loading_info=True, **keywords
    )
    found = find_head(model)
    if found is None or not isinstance(found.module, nn.Linear):
        raise UserError(f"model.name: {name}: its head is no linear layer named classifier")
    absent = {str(key) for key in info["missing_keys"]}
    absent |= {str(each[0]) for each in info["mismatched_keys"]}
    lost = sorted(key for key in absent if not key.startswith(f"{found.name}."))
    if lost:
        raise UserError(
            f"model.name: {name}: {len(lost)} weights of {type(model).__name__} are not there, "
            f"such as {lost[0]}"
        )
    _clear(found.module)
    made: PreTrainedModel = model
    return made


@torch.no_grad()
def _clear(head: nn.Linear) -> None:
    """Zero and in float32, for it is trained; it takes what the layers below compute in."""
    for parameter in head.parameters():
        parameter.data = torch.zeros_like(parameter, dtype=torch.float32)
    head.register_forward_pre_hook(_in_float32)


def _in_float32(head: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    del head
    return (given[0].float(), *given[1:])


@torch.no_grad()
def init_head(model: PreTrainedModel, seed: int) -> None:
    """Gives the head its first weights, as Transformers draws them; nothing without such a head.

    The weights take the place of the old ones, which stay as they are for whoever puts them back.

    Args:
        model: no adapter on.
        seed: of a generator of its own.
    """
    found = find_head(model)
    if found is None:
        return
    generator = torch.Generator().manual_seed(seed)
    spread = float(getattr(model.config.get_text_config(), "initializer_range", 0.02))
    weight, bias = found.module.get_parameter("weight"), getattr(found.module, "bias", None)
    drawn = torch.randn(weight.shape, generator=generator) * spread
    weight.data = drawn.to(device=weight.device, dtype=weight.dtype)
    if bias is not None:
        bias.data = torch.zeros_like(bias.data)


@torch.no_grad()
def probe_output(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """What a model makes of a probe before anything that a trial draws anew.

    Args:
        model: with or without adapter.
        ids: token ids, shape (1, length).

    Returns:
        The logits of a language model; what a head that tags tokens is given.
    """
    found = find_head(model)
    if found is None:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits
    seen: list[Tensor] = []
    handle = found.module.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach()), prepend=True
    )
    try:
        model(input_ids=ids)
    finally:
        handle.remove()
    return seen[0]


def _as_tuple(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
