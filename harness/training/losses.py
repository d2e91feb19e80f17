"""Training losses: on answer tokens, and on token tags; `loss_for` selects a task's."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from harness.models.batches import Batch, collate
from harness.tasks.task import AnswerMode, Task
from harness.training.generation import length_sorted_batches
from harness.training.token_classification import TaggedText


class CompletionLoss:
    """Negative log-likelihood of answer tokens, summed over a batch.

    Most of a batch is prompt, whose logits are not needed: hidden states are taken from the inner
    model, and only positions that predict an answer token go through the output head. Some
    architectures do more after the head (scaling, soft caps); whether this shortcut is exact is
    tested once, bit for bit on a probe. If not, all logits are computed.

    Rows are padded on the right, so causal attention never sees padding and no mask is needed.

    Args:
        model: the frozen base model, without an adapter.

    Attributes:
        short: whether logits are computed for answer tokens alone.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        parts = _inner_and_head(model)
        self.short = parts is not None and _is_exact(model, *parts)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The summed loss in nats, a scalar that gradients flow through."""
        # Looked up at each call: a trial that trains the output head replaces the module.
        parts = _inner_and_head(self._model) if self.short else None
        inputs = {"input_ids": batch.ids, "use_cache": False}
        if batch.positions is not None:
            inputs["position_ids"] = batch.positions
        if parts is not None:
            inner, head = parts
            logits = head(inner(**inputs).last_hidden_state[batch.rows])
        else:
            logits = self._model(**inputs).logits[batch.rows]
        return functional.cross_entropy(in_float32(logits), batch.targets, reduction="sum")


def in_float32(logits: torch.Tensor) -> torch.Tensor:
    """Logits in the precision of the loss: float32, or float64 as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def keeps_sequences_apart(model: PreTrainedModel) -> bool:
    """Whether texts that share a row do not attend to each other, tested on a probe.

    Some architectures take no positions, or do not separate texts where positions restart.
    """
    size = int(model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    ids = (torch.arange(12, device=device) * 7919 % size).reshape(1, 12)
    positions = torch.tensor([[*range(5), *range(7)]], device=device)
    try:
        joint = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, 5:].float()
        alone = model(input_ids=ids[:, 5:], use_cache=False).logits[0].float()
    except (TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(joint, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


def _inner_and_head(model: PreTrainedModel) -> tuple[nn.Module, nn.Module] | None:
    inner = getattr(model, model.base_model_prefix, None)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if isinstance(inner, nn.Module) and inner is not model and isinstance(head, nn.Module):
        return inner, head
    return None


@torch.no_grad()
def _is_exact(model: PreTrainedModel, inner: nn.Module, head: nn.Module) -> bool:
    size = int(model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    ids = (torch.arange(16, device=device) * 7919 % size).reshape(2, 8)
    full = model(input_ids=ids, use_cache=False).logits
    try:
        short = head(inner(input_ids=ids, use_cache=False).last_hidden_state)
    except (TypeError, AttributeError, RuntimeError):
        return False
    return torch.equal(short.float(), full.float())


class TaggingLoss:
    """Cross-entropy of tags, summed over the tokens of a batch that have one.

    Rows are padded on the right, and padding is masked: an encoder attends to both sides.

    Args:
        model: the frozen base model with its head.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The summed loss in nats, a scalar that gradients flow through."""
        logits = self._model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows]
        return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


@torch.inference_mode()
def predict_tags(
    model: PreTrainedModel, texts: Sequence[TaggedText], pad: int, batch_size: int
) -> list[np.ndarray]:
    """Log-probabilities of the tags at each token.

    Args:
        model: with a token-classification head, in evaluation mode.
        texts: the texts as windows.
        pad: id of the padding token, added on the right (masked).
        batch_size: windows run together.

    Returns:
        For each text an array of shape (tokens, tags); (0, 0) for one without tokens.
    """
    all_windows = [window for text in texts for window in text.parts]
    device = next(model.parameters()).device
    no_tokens = np.empty((0, 0), dtype=np.float32)
    log_probabilities = [no_tokens] * len(all_windows)
    for batch_indices in length_sorted_batches([window.ids for window in all_windows], batch_size):
        batch = collate([all_windows[index] for index in batch_indices], pad, device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows]
        batch_log_probabilities = functional.log_softmax(logits.float(), dim=-1).cpu()
        by_window = torch.split(batch_log_probabilities, batch.rows.sum(dim=1).tolist())
        for index, window_values in zip(batch_indices, by_window, strict=True):
            log_probabilities[index] = window_values.numpy()
    remaining = iter(log_probabilities)
    by_text = [[next(remaining) for _ in text.parts] for text in texts]
    return [np.concatenate(parts) if parts else no_tokens for parts in by_text]


#: The loss of a batch in nats, summed over its targets, a scalar that gradients flow through.
Loss = Callable[[Batch], torch.Tensor]


def loss_for(model: PreTrainedModel, task: Task) -> Loss:
    """The training loss of a frozen base without adapter, for a task's type of answer."""
    tagged = task.type.answers is AnswerMode.TAGGED
    return TaggingLoss(model) if tagged else CompletionLoss(model)
