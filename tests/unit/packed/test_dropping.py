"""What is dropped from a slot's rows is its own generator's choice."""

import pytest
import torch

from harness.training.packed.layout import Among
from harness.training.packed.lora_math import Dropout, Mask, Places


@pytest.fixture(params=["places", "mask"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor and as on a GPU."""
    if request.param == "mask":
        monkeypatch.setattr(Dropout, "_places", Dropout._mask)


@pytest.mark.usefixtures("way")
def test_what_rows_drop_does_not_depend_on_which_of_them_go_on() -> None:
    rows = torch.ones(9, 5)
    picked = torch.tensor([1, 2, 7])
    whole = Dropout(0.4, torch.Generator().manual_seed(3)).draw(rows)
    some = Dropout(0.4, torch.Generator().manual_seed(3)).draw(rows[picked], Among(9, picked))
    assert whole is not None
    assert some is not None
    assert 0 < int((some.of(rows[picked]) == 0).sum()) < int((whole.of(rows) == 0).sum())
    assert torch.equal(some.of(rows[picked]), whole.of(rows)[picked])


def test_nothing_is_drawn_where_nothing_is_dropped() -> None:
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    assert Dropout(0.0, generator).draw(torch.ones(9, 5)) is None
    assert torch.equal(generator.get_state(), before)


@pytest.mark.usefixtures("way")
def test_each_draw_is_another_and_the_generator_s() -> None:
    rows = torch.ones(9, 5)
    seen = []
    for seed in (3, 3, 4):
        dropout = Dropout(0.4, torch.Generator().manual_seed(seed))
        draws = [dropout.draw(rows) for _ in range(2)]
        seen.append([None if each is None else each.of(rows) for each in draws])
    assert all(torch.equal(one, other) for one, other in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])
    assert not torch.equal(seen[0][0], seen[2][0])


@pytest.mark.usefixtures("way")
def test_the_share_that_is_dropped_is_p_and_the_mean_stays() -> None:
    rows = torch.ones(400, 500)
    dropped = Dropout(0.1, torch.Generator().manual_seed(3)).draw(rows)
    assert isinstance(dropped, Places | Mask)
    left = dropped.of(rows)
    # Four standard errors of 200,000 draws.
    assert float((left == 0).double().mean()) == pytest.approx(0.1, abs=0.0027)
    assert float(left.double().mean()) == pytest.approx(1, abs=0.003)


@pytest.mark.usefixtures("way")
def test_what_is_no_number_is_dropped_like_the_rest() -> None:
    rows = torch.full((40, 50), torch.nan)
    dropped = Dropout(0.5, torch.Generator().manual_seed(3)).draw(rows)
    assert dropped is not None
    assert 700 < int((dropped.of(rows) == 0).sum()) < 1300
