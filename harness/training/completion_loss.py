"""The loss on the answers alone, with logits only where an answer token is predicted."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from harness.models.tokens import Batch


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
        """Tries the short way."""
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
        return functional.cross_entropy(exactly(logits), batch.targets, reduction="sum")


def exactly(logits: torch.Tensor) -> torch.Tensor:
    """Logits as the loss takes them: in float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


@torch.no_grad()
def keeps_apart(model: PreTrainedModel) -> bool:
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
