"""Gradient checkpointing of a frozen base: activations are computed again on the way back.

Transformers' own only acts in training mode, in which a base's dropout would act too. Here each
block is wrapped for the time being, so that results are those without. Knows nothing of adapters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[int]:
    """Keeps only the inputs of each block while gradients are wanted.

    Yields:
        How many blocks there are.
    """
    blocks = [
        block
        for stack in model.modules()
        if isinstance(stack, nn.ModuleList) and _is_outermost(model, stack)
        for block in stack
    ]
    for block in blocks:
        block.forward = partial(_again, block.forward)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _again(forward: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **keywords)


def _is_outermost(model: PreTrainedModel, stack: nn.ModuleList) -> bool:
    """Whether no other list of modules holds this one, such as T5's blocks hold their layers."""
    (name,) = (name for name, module in model.named_modules() if module is stack)
    return not any(part.isdigit() for part in name.split("."))
