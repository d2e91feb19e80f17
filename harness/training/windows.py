"""Windows over a text that is longer than a model may read, each token read off one of them.

Knows numbers of tokens only.
"""

from itertools import pairwise
from typing import Final, NamedTuple

#: Share of a window that it has in common with the next one, at least.
OVERLAP: Final = 1 / 3


class Window(NamedTuple):
    """A part of a text's tokens.

    Attributes:
        start: its first token.
        end: behind its last token.
        first: the first token that is read off this window and no other.
        behind: behind the last such token.
    """

    start: int
    end: int
    first: int
    behind: int


def windows(tokens: int, room: int) -> tuple[Window, ...]:
    """Equally spaced windows over all tokens; one where they fit into it.

    A token that two windows show is read off the one in which it is farther from the edge.

    Args:
        tokens: of the text.
        room: tokens of a window.
    """
    if not tokens:
        return ()
    if tokens <= room:
        return (Window(0, tokens, 0, tokens),)
    step = max(1, room - round(room * OVERLAP))
    count = 1 + -(-(tokens - room) // step)
    starts = [number * (tokens - room) // (count - 1) for number in range(count)]
    # Halfway between a window's start and the end of the one before.
    borders = [(start + before + room + 1) // 2 for before, start in pairwise(starts)]
    edges = [0, *borders, tokens]
    return tuple(
        Window(start, start + room, edges[number], edges[number + 1])
        for number, start in enumerate(starts)
    )
