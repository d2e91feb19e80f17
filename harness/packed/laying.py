"""Sequences end to end: where each text ends, and which rows predict an answer.

Knows token sequences and shares of rows, nothing of models.
"""

from collections.abc import Sequence

from harness.models.tokens import TokenSequence
from harness.packed.layout import Share


def lengths(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Lengths of all texts, those that share a row apart."""
    found: list[int] = []
    for one in sequences:
        ends = (*one.breaks, len(one.ids))
        found += [end - start for start, end in zip((0, *ends), ends, strict=False)]
    return tuple(found)


def answers(
    sequences: Sequence[TokenSequence], shares: Sequence[Share]
) -> tuple[list[int], list[int], list[int]]:
    """Rows that predict an answer token, these tokens, and how many each slot has."""
    rows: list[int] = []
    targets: list[int] = []
    counts = [0] * len(shares)
    first = place = 0
    for one in sequences:
        seen = learnt(one)
        while seen and first >= shares[place].end:
            place += 1
        rows += [first + at for at in seen]
        targets += [one.ids[at + 1] for at in seen]
        counts[place] += len(seen)
        first += len(one.ids)
    return rows, targets, counts


def learnt(one: TokenSequence) -> list[int]:
    """Places whose next token is an answer's, or of a text that is learnt whole."""
    apart = {end - 1 for end in one.breaks}
    return [at for at in range(max(0, one.start - 1), len(one.ids) - 1) if at not in apart]
