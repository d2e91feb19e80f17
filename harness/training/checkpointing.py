"""Gradient checkpointing of a frozen base: activations are computed again on the way back.

Transformers' own only acts in training mode, in which a base's dropout would act too. Here each
block is wrapped for the time being, so that results are those without. Knows nothing of adapters.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from harness.models.stacks import stacks


@contextmanager
def checkpointed(model: PreTrainedModel) -> Iterator[int]:
    """Keeps only the inputs of each block while gradients are wanted.

    Yields:
        How many blocks there are.
    """
    blocks = [block for stack in stacks(model) for block in stack]
    for block in blocks:
        block.forward = partial(_again, block.forward)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _again(forward: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **keywords)
