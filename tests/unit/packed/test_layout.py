"""Rows and their owners, sequences and their padding."""

import threading

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.training.packed.layout import Layout, Picked, Share, active, laid_out

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


def test_picked_rows_are_their_slots_and_filled_up_with_nobody_s() -> None:
    layout = Layout((Share(4, 0, 5), Share(2, 5, 9), Share(7, 9, 12)), (5, 4, 3))
    picked = Picked(layout, [1, 3, 4, 9, 11], fill=3)
    assert picked.rows.tolist() == [1, 3, 4, 9, 11, 0, 0, 0]
    assert picked.layout.shares == (Share(4, 0, 3), Share(2, 3, 3), Share(7, 3, 5))
    wholes = {slot: each.whole for slot, each in picked.layout.among.items()}
    places = {slot: each.places.tolist() for slot, each in picked.layout.among.items()}
    assert wholes == {4: 5, 2: 4, 7: 3}
    assert places == {4: [1, 3, 4], 2: [], 7: [0, 2]}


def test_gradients_of_picked_rows_are_spread_over_all() -> None:
    picked = Picked(Layout((Share(0, 0, 4),), (4,)), [1, 3], fill=1)
    gradient = torch.tensor([[1.0], [2.0], [0.0]])
    assert picked.spread(gradient).tolist() == [[0.0], [1.0], [0.0], [2.0]]
