"""Rows and their owners, sequences and their padding."""

import threading
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.packed.layout import Layout, Share, active, laid_out, shares_of

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(tuple)


@given(LENGTHS)
def test_positions_begin_anew_with_each_sequence(lengths: tuple[int, ...]) -> None:
    found = Layout((), lengths).positions
    assert found.shape == (1, sum(lengths))
    assert found[0].tolist() == [place for length in lengths for place in range(length)]


@given(LENGTHS)
def test_padding_puts_each_row_in_its_place_and_takes_it_back(lengths: tuple[int, ...]) -> None:
    padding = Layout((), lengths).padding
    if len(set(lengths)) == 1:
        assert padding is None  # a view is enough
        return
    assert padding is not None
    assert (padding.sequences, padding.longest) == (len(lengths), max(lengths))
    rows = torch.arange(1, sum(lengths) + 1)
    padded = rows[padding.places].view(padding.sequences, padding.longest)
    for row, one in zip(padded, torch.split(rows, [*lengths]), strict=True):
        assert row[: len(one)].tolist() == one.tolist()
        # Its own first: a trial that has diverged would spoil the others' products.
        assert row[len(one) :].tolist() == [int(one[0])] * (max(lengths) - len(one))
    assert torch.equal(padded.flatten()[padding.back], rows)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_neighbours_of_one_owner_are_one_share(owners: list[int]) -> None:
    shares = shares_of(owners)
    assert [slot for slot, start, end in shares for _ in range(start, end)] == owners
    assert all(start < end for _, start, end in shares)
    assert all(one.slot != other.slot for one, other in pairwise(shares))
    assert all(one.end == other.start for one, other in pairwise(shares))


def test_a_slot_may_come_again() -> None:
    assert shares_of([2, 2, 0, 2]) == (Share(2, 0, 2), Share(0, 2, 3), Share(2, 3, 4))


def test_a_layout_is_there_within_its_pass_alone() -> None:
    outer, inner = Layout((), (1,)), Layout((), (2,))
    assert active() is None
    with laid_out(outer):
        try:
            with laid_out(inner):
                assert active() is inner
                raise ValueError
        except ValueError:
            assert active() is outer
    assert active() is None


def test_another_thread_does_not_see_it() -> None:
    seen: list[Layout | None] = []
    with laid_out(Layout((), (1,))):
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_places_lie_where_the_rows_lie() -> None:
    layout = Layout((), (2, 3), device=torch.device("meta"))
    assert layout.padding is not None
    found = (layout.positions, layout.padding.places, layout.padding.back)
    assert [each.device.type for each in found] == ["meta"] * 3
