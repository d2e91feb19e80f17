"""Windows over a long text: all of it is seen, each token read where it has most around it."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.training.token_classification import OVERLAP, Window, windows


def test_a_text_that_fits_has_one_window_and_an_empty_one_none() -> None:
    assert windows(5, 5) == (Window(0, 5, 0, 5),)
    assert windows(0, 5) == ()


def test_a_longer_text_has_windows_that_overlap() -> None:
    assert windows(10, 6) == (Window(0, 6, 0, 5), Window(4, 10, 5, 10))
    assert windows(7, 6) == (Window(0, 6, 0, 4), Window(1, 7, 4, 7))


@given(st.integers(1, 400), st.integers(1, 60))
def test_each_token_is_read_off_the_window_in_which_it_is_farthest_from_the_edge(
    tokens: int, room: int
) -> None:
    found = windows(tokens, room)
    read = [place for one in found for place in range(one.first, one.behind)]
    assert read == list(range(tokens))
    for one in found:
        assert one.start <= one.first < one.behind <= one.end
        assert one.end - one.start == min(room, tokens)

    def around(place: int, one: Window) -> float:
        """Tokens to the nearer edge; the text's own ends are no edges."""
        left = math.inf if one.start == 0 else place - one.start
        right = math.inf if one.end == tokens else one.end - 1 - place
        return min(left, right)

    for one in found:
        for place in range(one.first, one.behind):
            rivals = [other for other in found if other.start <= place < other.end]
            assert around(place, one) >= max(around(place, other) for other in rivals)


@given(st.integers(1, 400), st.integers(3, 60))
def test_neighbours_share_a_third(tokens: int, room: int) -> None:
    found = windows(tokens, room)
    for one, other in pairwise(found):
        assert one.end - other.start >= round(room * OVERLAP)
