"""Which loss a task is trained by: the one place that chooses."""

from collections.abc import Callable
from typing import Final

import torch
from transformers import PreTrainedModel

from harness.models.tokens import Batch
from harness.task import Answers, Task
from harness.training.completion_loss import CompletionLoss
from harness.training.tagging_loss import TaggingLoss

#: The loss of a batch in nats, summed over what is learnt of it; gradients flow through.
Loss = Callable[[Batch], torch.Tensor]

_LOSSES: Final[dict[Answers, Callable[[PreTrainedModel], Loss]]] = {
    Answers.WRITTEN: CompletionLoss,
    Answers.CHOSEN: CompletionLoss,
    Answers.LIKELIHOOD: CompletionLoss,
    Answers.TAGGED: TaggingLoss,
}


def loss_of(model: PreTrainedModel, task: Task) -> Loss:
    """The loss that teaches a model to answer as a task is answered.

    Args:
        model: the frozen base, no adapter attached yet.
        task: what is trained.
    """
    return _LOSSES[task.kind.answers](model)
