"""What a head that tags tokens is trained by, and what it says. Knows token ids and tags only."""

from collections.abc import Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from harness.models.tokens import Batch, collate
from harness.training.decoding import by_length
from harness.training.tagging import TaggedText


class TaggingLoss:
    """Cross-entropy of tags, summed over the tokens of a batch that are learnt.

    Rows are padded on the right, and padding is masked: an encoder looks to both sides.

    Args:
        model: the frozen base with its head.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Keeps the model."""
        self._model = model

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The summed loss in nats, a scalar that gradients flow through."""
        logits = self._model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows]
        return functional.cross_entropy(logits.float(), batch.targets, reduction="sum")


@torch.inference_mode()
def said(
    model: PreTrainedModel, texts: Sequence[TaggedText], pad: int, batch_size: int
) -> list[list[int]]:
    """The likeliest tag of each token.

    Args:
        model: with a head, in evaluation mode.
        texts: as windows.
        pad: id to pad with on the right (masked).
        batch_size: windows run together.

    Returns:
        For each text the numbers of its tokens' tags, in the order of the tokens.
    """
    parts = [part for text in texts for part in text.parts]
    device = next(model.parameters()).device
    found: list[list[int]] = [[] for _ in parts]
    for chosen in by_length([part.ids for part in parts], batch_size):
        batch = collate([parts[index] for index in chosen], pad, device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits
        best = logits[batch.rows].argmax(dim=-1)
        shares = torch.split(best, batch.rows.sum(dim=1).tolist())
        for index, share in zip(chosen, shares, strict=True):
            found[index] = share.tolist()
    windows = iter(found)
    return [[tag for _ in text.parts for tag in next(windows)] for text in texts]
