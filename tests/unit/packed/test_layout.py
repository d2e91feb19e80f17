import torch

from harness.packed.layout import Layout, Share, active, laid_out, shares_of


def test_padding_goes_there_and_back():
    layout = Layout((), (2, 3, 1))
    padding = layout.padding
    assert padding is not None
    rows = torch.arange(6)
    padded = rows[padding.places].view(padding.sequences, padding.longest)
    assert padded.tolist() == [[0, 1, 0], [2, 3, 4], [5, 5, 5]]  # filled with their own first
    assert torch.equal(padded.flatten()[padding.back], rows)
    assert layout.positions.tolist() == [[0, 1, 0, 1, 2, 0]]


def test_equally_long_sequences_need_no_padding():
    assert Layout((), (3, 3)).padding is None


def test_neighbours_of_one_owner_are_one_share():
    assert shares_of([2, 2, 0, 0, 0, 2]) == (Share(2, 0, 2), Share(0, 2, 5), Share(2, 5, 6))
    assert shares_of([]) == ()


def test_a_layout_holds_inside_and_not_outside():
    layout = Layout((), (1,))
    assert active() is None
    with laid_out(layout):
        assert active() is layout
    assert active() is None
