"""Token sequences, the seeded order of training examples, and padded batches.

The order depends on the trial's seed alone, so that two ranks or two variants see identical
batches.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import torch

from harness.trial import Purpose, derive_seed

#: Tag of a token without a loss; the `ignore_index` of torch's cross-entropy.
IGNORED: Final = -100
#: Batches sorted by length together: more of them need less padding, fewer shuffle better.
WINDOW: Final = 8


class TokenSequence(NamedTuple):
    """One training example: prompt, answer, end of text; texts that share a row; tagged tokens.

    Attributes:
        ids: token ids.
        start: where the answer begins.
        breaks: where each further text begins, if the row holds several; attention does not cross
            a break.
        tags: for token classification the index of each token's tag, or `IGNORED`; then no next
            token is predicted and `start` is unused.
    """

    ids: tuple[int, ...]
    start: int
    breaks: tuple[int, ...] = ()
    tags: tuple[int, ...] = ()


class Batch(NamedTuple):
    """Sequences padded on the right.

    Attributes:
        ids: token ids, shape (sequences, longest).
        rows: whether a position predicts an answer token or has a tag, shape as `ids`.
        targets: the answer tokens or tags predicted, in the order of `rows`, one dimension.
        tokens: tokens of all sequences, padding excluded.
        positions: position of each token within its text, shape as `ids`, where a row holds
            several texts: Transformers separates texts where positions restart at 0. None where
            each row is one text.
        mask: 1 for tokens and 0 for padding, shape as `ids`, for token classification: an encoder
            attends to the right, too. None for causal models, which never see padding.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    tokens: int
    positions: torch.Tensor | None = None
    mask: torch.Tensor | None = None


def data_order(lengths: Sequence[int], batch_size: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Endless batches of indices, each epoch shuffled from the trial's data generator.

    Examples are shuffled, cut into windows of `WINDOW` batches, sorted by length within a window
    (little padding) and cut into batches, whose order is shuffled.

    Args:
        lengths: tokens of each example.
        batch_size: examples of a batch; the last one of an epoch may be smaller.
        seed: the trial's seed.

    Yields:
        Indices of the examples of one batch.
    """
    generator = random.Random(derive_seed(seed, Purpose.DATA_ORDER))
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
    """Pads sequences on the right and marks the positions that predict an answer token."""
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.tensor([(*s.ids, *(pad,) * (longest - len(s.ids))) for s in sequences])
    if any(sequence.tags for sequence in sequences):
        return _collate_tagged(sequences, ids, device)
    rows = torch.zeros_like(ids, dtype=torch.bool)
    for row, sequence in zip(rows, sequences, strict=True):
        # Position i predicts token i + 1; the first token of a text is predicted by nothing.
        row[max(0, sequence.start - 1) : len(sequence.ids) - 1] = True
        row[[boundary - 1 for boundary in sequence.breaks]] = False
    targets = ids.roll(-1, dims=1)[rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    positions = None
    if any(sequence.breaks for sequence in sequences):
        positions = torch.tensor([_text_positions(sequence, longest) for sequence in sequences])
        positions = positions.to(device)
    return Batch(ids.to(device), rows.to(device), targets.to(device), tokens, positions)


def _collate_tagged(
    sequences: Sequence[TokenSequence], ids: torch.Tensor, device: torch.device
) -> Batch:
    longest = ids.shape[1]
    tags = torch.tensor([(*s.tags, *(IGNORED,) * (longest - len(s.tags))) for s in sequences])
    mask = torch.tensor([[1] * len(s.ids) + [0] * (longest - len(s.ids)) for s in sequences])
    rows = tags != IGNORED
    tokens = int(mask.sum())
    tensors = (ids, rows, tags[rows], mask)
    ids, rows, targets, mask = (part.to(device) for part in tensors)
    return Batch(ids, rows, targets, tokens, mask=mask)


def _text_positions(sequence: TokenSequence, longest: int) -> list[int]:
    """Positions within each text; padding counts as a text of its own."""
    edges = pairwise((0, *sequence.breaks, len(sequence.ids), longest))
    return [position for start, end in edges for position in range(end - start)]


def pack_sequences(texts: Sequence[TokenSequence], length: int) -> tuple[TokenSequence, ...]:
    """Packs texts into rows of at most `length` tokens by first-fit decreasing.

    Deterministic: equal texts give equal rows.

    Args:
        texts: each of one text, with its loss on all tokens (`start` 0), at most `length` long.
        length: tokens of a row.
    """
    rows: list[list[TokenSequence]] = []
    free: list[int] = []
    # The first row that may still have room for a text of this size: rows before it stay too full.
    first_row: dict[int, int] = {}
    for text in sorted(texts, key=lambda text: -len(text.ids)):
        size = len(text.ids)
        row = first_row.get(size, 0)
        while row < len(rows) and free[row] < size:
            row += 1
        first_row[size] = row
        if row == len(rows):
            rows.append([])
            free.append(length)
        rows[row].append(text)
        free[row] -= size
    return tuple(_join_texts(row) for row in rows)


def _join_texts(row: Sequence[TokenSequence]) -> TokenSequence:
    ids = tuple(token for text in row for token in text.ids)
    ends = list(accumulate(len(text.ids) for text in row))
    return TokenSequence(ids, 0, tuple(ends[:-1]))
