"""Token-classification heads: loads a base model with one, finds and initialises it.

The base model brings no such head, so each trial initialises and trains its own. Between trials it
is zero, so that the base model is the same in every process.
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

#: Transformers' names of such a head; PEFT trains modules of these names under `TOKEN_CLS`.
NAMES: Final = ("classifier", "score")

_TAGGERS: Final = frozenset(MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.values())


class TokenHead(NamedTuple):
    """A model's token-classification head.

    Attributes:
        name: name of the module.
        module: the head; PEFT's wrapper around it while an adapter is attached.
    """

    name: str
    module: nn.Module


def find_head(model: nn.Module) -> TokenHead | None:
    """The model's token-classification head; None for a language model."""
    if type(model).__name__ not in _TAGGERS:
        return None
    heads = (TokenHead(name, getattr(model, name)) for name in NAMES if hasattr(model, name))
    return next(heads, None)


def task_type(model: nn.Module) -> str:
    """PEFT's `task_type` for the model."""
    return "CAUSAL_LM" if find_head(model) is None else "TOKEN_CLS"


def labels(model: PreTrainedModel) -> tuple[str, ...]:
    """Labels of the head's outputs, in order; none for a language model."""
    if find_head(model) is None:
        return ()
    named: Any = model.config.id2label
    return tuple(named[index] for index in range(len(named)))


def why_no_head(config: PretrainedConfig, head: Head) -> str | None:
    """Why a model of this configuration cannot have a head; None where it can."""
    architectures = tuple(config.architectures or ())
    model_name = ", ".join(architectures) or config.model_type
    if head != GENERATION:
        if config.model_type in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES:
            return None
        return f"cannot be given a head for token classification ({model_name})"
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    values = ((value,) if isinstance(value, str) else value for value in known.values())
    classes = {class_name for value in values for class_name in value}
    if config.model_type in known and (not architectures or classes.intersection(architectures)):
        return None
    return f"is not a causal language model ({model_name})"


def put_labels(config: PretrainedConfig, head: Head) -> None:
    """Writes the head's labels into a model's configuration."""
    if head != GENERATION:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: index for index, label in enumerate(head.labels)}
        if hasattr(config, "use_cache"):  # no text is generated, so a KV cache wastes memory
            config.use_cache = False


def empty_model(config: PretrainedConfig, head: Head) -> PreTrainedModel:
    """A model of this configuration with random weights, or none on the meta device."""
    auto_class = AutoModelForCausalLM if head == GENERATION else AutoModelForTokenClassification
    model: PreTrainedModel = auto_class.from_config(config)  # type: ignore[no-untyped-call]
    return model


def load(name: str, path: str, head: Head, keywords: Mapping[str, Any]) -> PreTrainedModel:
    """Loads a model with this head.

    Args:
        name: `model.name` of the sweep.
        path: folder or hub id.
        head: the requested head.
        keywords: arguments of `from_pretrained`.

    Raises:
        UserError: weights besides the head's are missing, or the head is not one linear layer,
            which is what PEFT trains beside an adapter.
    """
    if head == GENERATION:
        language_model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **keywords)
        return language_model
    model, info = AutoModelForTokenClassification.from_pretrained(
        path, ignore_mismatched_sizes=True, output_loading_info=True, **keywords
    )
    head_module = find_head(model)
    if head_module is None or not isinstance(head_module.module, nn.Linear):
        raise UserError(
            f"model.name: {name}: its head is no linear layer named classifier or score"
        )
    uninitialized = {str(key) for key in info["missing_keys"]}
    uninitialized |= {str(key[0]) for key in info["mismatched_keys"]}
    missing = sorted(key for key in uninitialized if not key.startswith(f"{head_module.name}."))
    if missing:
        raise UserError(
            f"model.name: {name}: {len(missing)} weights of {type(model).__name__} are missing, "
            f"such as {missing[0]}"
        )
    _zero_head(head_module.module)
    loaded: PreTrainedModel = model
    return loaded


@torch.no_grad()
def _zero_head(head: nn.Linear) -> None:
    """Sets a head to zero in float32, since it is trained; its input is cast to float32."""
    for parameter in head.parameters():
        parameter.data = torch.zeros_like(parameter, dtype=torch.float32)
    head.register_forward_pre_hook(_in_float32)


def _in_float32(head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    del head
    return (arguments[0].float(), *arguments[1:])


@torch.no_grad()
def init_head(model: PreTrainedModel, seed: int) -> None:
    """Initialises the head as Transformers does; does nothing to a language model.

    The weights are drawn from a generator of their own and replace the old tensors, which are not
    written to, so that they can be restored.
    """
    head = find_head(model)
    if head is None:
        return
    generator = torch.Generator().manual_seed(seed)
    std = float(getattr(model.config.get_text_config(), "initializer_range", 0.02))
    weight, bias = head.module.get_parameter("weight"), getattr(head.module, "bias", None)
    values = torch.randn(weight.shape, generator=generator) * std
    weight.data = values.to(device=weight.device, dtype=weight.dtype)
    if bias is not None:
        bias.data = torch.zeros_like(bias.data)


@torch.no_grad()
def probe_output(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """A model's output for a probe, without the randomly initialised head.

    Args:
        model: with or without adapter.
        ids: token ids, shape (1, length).

    Returns:
        The logits of a language model; the input of a token-classification head.
    """
    head = find_head(model)
    if head is None:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
        return logits
    inputs: list[Tensor] = []
    handle = head.module.register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0].detach()), prepend=True
    )
    try:
        model(input_ids=ids)
    finally:
        handle.remove()
    return inputs[0]
