"""Sequences of tokens, the order in which they are met, and batches of them.

The order comes from the trial's seed and nothing else, so that two ranks or two variants see
identical batches. Knows nothing of tasks and of tokenizers.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch

from harness.seeds import Purpose, derive

#: Batches that are sorted by length together: more pads less, fewer shuffles better.
WINDOW: Final = 8


class TokenSequence(NamedTuple):
    """One training example: prompt, answer, end of text.

    Attributes:
        ids: token ids.
        start: where the answer begins.
    """

    ids: tuple[int, ...]
    start: int


class Batch(NamedTuple):
    """Sequences padded on the right.

    Attributes:
        ids: token ids, shape (sequences, longest).
        rows: whether a position predicts an answer token, shape as `ids`.
        targets: the answer tokens predicted, in the order of `rows`, shape (answer tokens,).
        tokens: tokens of all sequences, padding excluded.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    tokens: int


def data_order(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Batches of indices without end, each epoch shuffled anew from the trial's data generator.

    Examples are shuffled, cut into windows of `WINDOW` batches, sorted by length within a window
    (little padding) and cut into batches, whose order is shuffled.

    Args:
        lengths: tokens of each example.
        batch_size: examples of a batch; the last one of an epoch may be smaller.
        seed: the trial's seed.

    Yields:
        Indices of the examples of one batch.
    """
    generator = random.Random(derive(seed, Purpose.DATA_ORDER))
    window = batch_size * WINDOW
    while lengths:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        batches: list[tuple[int, ...]] = []
        for start in range(0, len(order), window):
            block = sorted(order[start : start + window], key=lambda index: lengths[index])
            batches += [tuple(block[i : i + batch_size]) for i in range(0, len(block), batch_size)]
        generator.shuffle(batches)
        yield from batches


def collate(sequences: Sequence[TokenSequence], pad: int, device: torch.device) -> Batch:
    """Pads sequences on the right and marks the positions that predict an answer token.

    Args:
        sequences: of one batch or micro-batch.
        pad: id of the padding token.
        device: where the tensors shall lie.
    """
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.tensor([(*s.ids, *(pad,) * (longest - len(s.ids))) for s in sequences])
    rows = torch.zeros_like(ids, dtype=torch.bool)
    for row, sequence in zip(rows, sequences, strict=True):
        # Position i predicts token i + 1; the first token of all is predicted by nothing.
        row[max(0, sequence.start - 1) : len(sequence.ids) - 1] = True
    targets = ids.roll(-1, dims=1)[rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    return Batch(ids.to(device), rows.to(device), targets.to(device), tokens)
