"""The loss on the answers alone, with logits only where an answer token is predicted.

What a head that tags tokens is trained by, and what it says. Knows token ids and tags only.

Which loss a task is trained by: the one place that chooses.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from harness.models.batches import Batch, collate
from harness.tasks.task import Answers, Task
from harness.training.generation import length_sorted_batches
from harness.training.token_classification import TaggedText


class _Parts(NamedTuple):
    inner: nn.Module
    head: nn.Module


class CompletionLoss:
    """Negative log-likelihood of answer tokens, summed over a batch.

    Most of a batch is prompt, whose logits nobody needs: hidden states are taken from the inner
    model and only the rows that predict an answer token go through the output head. Some
    architectures do more after the head (scaling, soft caps); whether this short way is exact is
    found out once, by comparing both ways bit for bit on a probe. If not, all logits are computed.

    Rows are padded on the right, so causal attention never sees padding and no mask is needed.

    Args:
        model: the frozen base, no adapter attached yet.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        parts = _parts(model)
        self._short = parts is not None and _is_exact(model, parts)

    @property
    def short(self) -> bool:
        """Whether logits are computed for answer tokens alone."""
        return self._short

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The summed loss in nats, a scalar that gradients flow through."""
        # Looked up anew: a trial may train the output head, and then it is another module.
        parts = _parts(self._model) if self._short else None
        inputs = {"input_ids": batch.ids, "use_cache": False}
        if batch.positions is not None:
            inputs["position_ids"] = batch.positions
        if parts is not None:
            hidden = parts.inner(**inputs).last_hidden_state
            logits = parts.head(hidden[batch.rows])
        else:
            logits = self._model(**inputs).logits[batch.rows]
        return functional.cross_entropy(in_float32(logits), batch.targets, reduction="sum")


def in_float32(logits: torch.Tensor) -> torch.Tensor:
    """Logits as the loss takes them: in float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def keeps_sequences_apart(model: PreTrainedModel) -> bool:
    """Whether texts that share a row do not see each other in this model, tried on a probe.

    Some architectures take no positions, or do not begin anew where positions do.

    Args:
        model: in evaluation mode.
    """
    size = int(model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    ids = (torch.arange(12, device=device) * 7919 % size).reshape(1, 12)
    places = torch.tensor([[*range(5), *range(7)]], device=device)
    try:
        joint = model(input_ids=ids, position_ids=places, use_cache=False).logits[0, 5:].float()
        alone = model(input_ids=ids[:, 5:], use_cache=False).logits[0].float()
    except (TypeError, ValueError, RuntimeError):
        return False
    return torch.allclose(joint, alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


def _parts(model: PreTrainedModel) -> _Parts | None:
    inner = getattr(model, model.base_model_prefix, None)
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if isinstance(inner, nn.Module) and inner is not model and isinstance(head, nn.Module):
        return _Parts(inner, head)
    return None


@torch.no_grad()
def _is_exact(model: PreTrainedModel, parts: _Parts) -> bool:
    size = int(model.config.get_text_config().vocab_size)
    device = next(model.parameters()).device
    ids = (torch.arange(16, device=device) * 7919 % size).reshape(2, 8)
    full = model(input_ids=ids, use_cache=False).logits
    try:
        short = parts.head(parts.inner(input_ids=ids, use_cache=False).last_hidden_state)
    except (TypeError, AttributeError, RuntimeError):
        return False
    return torch.equal(short.float(), full.float())


class TaggingLoss:
    """Cross-entropy of tags, summed over the tokens of a batch that are learnt.

    Rows are padded on the right, and padding is masked: an encoder looks to both sides.

    Args:
        model: the frozen base with its head.
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
    """How likely each tag is at each token.

    Args:
        model: with a head, in evaluation mode.
        texts: as windows.
        pad: id to pad with on the right (masked).
        batch_size: windows run together.

    Returns:
        For each text the log-probabilities of its tokens' tags, shape (tokens, tags);
        of one without tokens nothing.
    """
    parts = [part for text in texts for part in text.parts]
    device = next(model.parameters()).device
    nothing = np.empty((0, 0), dtype=np.float32)
    found = [nothing] * len(parts)
    for chosen in length_sorted_batches([part.ids for part in parts], batch_size):
        batch = collate([parts[index] for index in chosen], pad, device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows]
        likely = functional.log_softmax(logits.float(), dim=-1).cpu()
        shares = torch.split(likely, batch.rows.sum(dim=1).tolist())
        for index, share in zip(chosen, shares, strict=True):
            found[index] = share.numpy()
    windows = iter(found)
    shown = [[next(windows) for _ in text.parts] for text in texts]
    return [np.concatenate(mine) if mine else nothing for mine in shown]


#: The loss of a batch in nats, summed over what is learnt of it; gradients flow through.
Loss = Callable[[Batch], torch.Tensor]

_LOSSES: Final[dict[Answers, Callable[[PreTrainedModel], Loss]]] = {
    Answers.WRITTEN: CompletionLoss,
    Answers.CHOSEN: CompletionLoss,
    Answers.LIKELIHOOD: CompletionLoss,
    Answers.TAGGED: TaggingLoss,
}


def loss_for(model: PreTrainedModel, task: Task) -> Loss:
    """The loss that teaches a model to answer as a task is answered.

    Args:
        model: the frozen base, no adapter attached yet.
        task: what is trained.
    """
    return _LOSSES[task.kind.answers](model)
