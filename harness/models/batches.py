"""Sequences of tokens, the order in which they are met, and batches of them.

The order comes from the trial's seed and nothing else, so that two ranks or two variants see
identical batches. Knows nothing of tasks and of tokenizers.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import torch

from harness.trial import Purpose, derive_seed

#: A token that no tag is learnt for.
IGNORED: Final = -100
#: Batches that are sorted by length together: more pads less, fewer shuffles better.
WINDOW: Final = 8


class TokenSequence(NamedTuple):
    """One training example: prompt, answer, end of text; texts that share a row; tagged tokens.

    Attributes:
        ids: token ids.
        start: where the answer begins.
        breaks: where each further text begins, if the row holds several; none sees another.
        tags: where tokens are tagged, the number of each one's tag or `IGNORED`; then no token is
            predicted from those before it, and `start` means nothing.
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
        positions: places within their text, shape as `ids`, where a row holds several texts: from
            where they begin anew, Transformers keeps texts apart. None where each row is one.
        mask: 1 for tokens and 0 for padding, shape as `ids`, where tokens are tagged: a model may
            look to the right, too. None where what it reads is causal.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    targets: torch.Tensor
    tokens: int
    positions: torch.Tensor | None = None
    mask: torch.Tensor | None = None


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
    """Pads sequences on the right and marks the positions that predict an answer token.

    Args:
        sequences: of one batch or micro-batch.
        pad: id of the padding token.
        device: where the tensors shall lie.
    """
    longest = max(len(sequence.ids) for sequence in sequences)
    ids = torch.tensor([(*s.ids, *(pad,) * (longest - len(s.ids))) for s in sequences])
    if any(sequence.tags for sequence in sequences):
        return _tagged(sequences, ids, device)
    rows = torch.zeros_like(ids, dtype=torch.bool)
    for row, sequence in zip(rows, sequences, strict=True):
        # Position i predicts token i + 1; the first token of a text is predicted by nothing.
        row[max(0, sequence.start - 1) : len(sequence.ids) - 1] = True
        row[[place - 1 for place in sequence.breaks]] = False
    targets = ids.roll(-1, dims=1)[rows]
    tokens = sum(len(sequence.ids) for sequence in sequences)
    positions = None
    if any(sequence.breaks for sequence in sequences):
        positions = torch.tensor([_positions(sequence, longest) for sequence in sequences])
        positions = positions.to(device)
    return Batch(ids.to(device), rows.to(device), targets.to(device), tokens, positions)


def _tagged(sequences: Sequence[TokenSequence], ids: torch.Tensor, device: torch.device) -> Batch:
    longest = ids.shape[1]
    tags = torch.tensor([(*s.tags, *(IGNORED,) * (longest - len(s.tags))) for s in sequences])
    mask = torch.tensor([[1] * len(s.ids) + [0] * (longest - len(s.ids)) for s in sequences])
    rows = tags != IGNORED
    tokens = int(mask.sum())
    found = (ids, rows, tags[rows], mask)
    ids, rows, targets, mask = (part.to(device) for part in found)
    return Batch(ids, rows, targets, tokens, mask=mask)


def _positions(sequence: TokenSequence, longest: int) -> list[int]:
    """Places within each text; padding is a text of its own."""
    ends = (*sequence.breaks, len(sequence.ids), longest)
    return [
        place for start, end in zip((0, *ends), ends, strict=False) for place in range(end - start)
    ]


def pack_sequences(texts: Sequence[TokenSequence], length: int) -> tuple[TokenSequence, ...]:
    """Texts joined to rows of at most `length` tokens, the longest first, each where it fits.

    First-fit decreasing; equal texts give equal rows.

    Args:
        texts: each of one text, with its loss on all tokens (`start` 0), at most `length` long.
        length: tokens of a row.
    """
    rows: list[list[TokenSequence]] = []
    free: list[int] = []
    first: dict[int, int] = {}  # the first row that can still have room for so many tokens
    for text in sorted(texts, key=lambda one: -len(one.ids)):
        size = len(text.ids)
        place = first.get(size, 0)
        while place < len(rows) and free[place] < size:
            place += 1
        first[size] = place
        if place == len(rows):
            rows.append([])
            free.append(length)
        rows[place].append(text)
        free[place] -= size
    return tuple(_joined(row) for row in rows)


def _joined(row: Sequence[TokenSequence]) -> TokenSequence:
    ids = tuple(token for text in row for token in text.ids)
    ends = list(accumulate(len(text.ids) for text in row))
    return TokenSequence(ids, 0, tuple(ends[:-1]))
