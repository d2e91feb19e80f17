"""What a head that tags tokens is trained by, and what it says. Knows token ids and tags only."""

from collections.abc import Sequence

import numpy as np
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
    for chosen in by_length([part.ids for part in parts], batch_size):
        batch = collate([parts[index] for index in chosen], pad, device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits[batch.rows]
        likely = functional.log_softmax(logits.float(), dim=-1).cpu()
        shares = torch.split(likely, batch.rows.sum(dim=1).tolist())
        for index, share in zip(chosen, shares, strict=True):
            found[index] = share.numpy()
    windows = iter(found)
    shown = [[next(windows) for _ in text.parts] for text in texts]
    return [np.concatenate(mine) if mine else nothing for mine in shown]
