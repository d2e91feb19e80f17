from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.config.sweep import Sweep, load_sweep, parse_sweep
from harness.models import base_model
from harness.study.data_checks import data_card_of
from harness.tasks.task import load_task_for
from harness.training.tokenization import TokenizedTask
from tests.task_folders import PROMPTS, pair_row, write_rows, write_task

SHARED = Path(
    os.environ.get("HARNESS_SHARED_DATA")
    or Path(__file__).resolve().parents[4] / "shared" / "data"
)


def sweep_of(place: str, **training: object) -> Sweep:
    return parse_sweep({"task": place, "training": {"epochs": 1, **training}}, "test")


def test_the_shipped_task_has_nothing_worse_than_near_repetitions() -> None:
    card = data_card_of(load_sweep("ner_medical", ["data.limit=60"]))
    assert [one.rows for one in card.counts] == [60, 60, 60]
    assert not any(one.exact for one in card.duplicates)
    assert (card.empty, card.overlong, card.contradictions, card.too_long) == ((), (), (), ())
    (floor,) = card.baselines
    assert floor.name == "dictionary"
    assert 10 < floor.value < 90


@pytest.mark.parametrize("length", [30, 34, 384])
def test_it_knows_what_training_cuts_and_leaves_out(length: int, tmp_path: Path) -> None:
    sizes = (1, 5, 9, 20)
    for split in ("train", "validation", "test"):
        rows = [
            pair_row(f"{split}-{n}-{m}", "word " * m, f"{split} {m}" + " word" * n)
            for n in sizes
            for m in sizes
        ]
        write_rows(tmp_path, split, rows)
    sweep = sweep_of(write_task(tmp_path, "pairs", max_new_tokens=12), max_length=length)
    card = data_card_of(sweep)
    tokens = TokenizedTask(base_model.load(sweep.model), load_task_for(sweep), length).training()
    assert len(card.too_long) == tokens.left_out
    assert round(16 * card.lengths[0].cut_share) == tokens.cut + tokens.left_out
    assert card.lengths[0].what == "prompt"
    assert {place.split for place in card.overlong} == {"train", "validation", "test"}


def test_a_choice_has_the_room_of_its_longest_class_and_writes_nothing(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [pair_row(f"{split}-{n}", "yes" if n % 2 else "no idea at all") for n in range(4)]
        write_rows(tmp_path, split, rows)
    card = data_card_of(sweep_of(write_task(tmp_path, "choice")))
    assert card.limits.max_new_tokens is None
    assert card.limits.prompt_room is not None
    longest = max(one.longest for one in card.lengths if one.what == "answer")
    assert card.limits.prompt_room + longest + card.limits.special_tokens == 1024
    assert {one.name: one.rows for one in card.classes} == {
        "yes": (2, 2, 2),
        "no idea at all": (2, 2, 2),
    }
    assert [(one.name, one.value) for one in card.baselines] == [("most_frequent", 50.0)]


def test_worked_examples_count_as_prompt(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [pair_row(f"{split}-{n}", "out") for n in range(4)])
    plain, shown = (
        data_card_of(sweep_of(write_task(tmp_path, "pairs", shots=shots))) for shots in (0, 2)
    )
    assert shown.lengths[0].median > 2 * plain.lengths[0].median


def test_public_data_are_looked_at_in_one_go(tmp_path: Path) -> None:
    place = SHARED / "banking77"
    if not place.is_dir():
        pytest.skip(f"no public data at {place}; set HARNESS_SHARED_DATA")
    keys = {"folder": str(place)}
    card = data_card_of(
        sweep_of(write_task(tmp_path, "choice", data=keys, prompt=PROMPTS["choice"]))
    )
    assert sum(one.rows for one in card.counts) == 8978 + 994
    assert len(card.classes) == 77
    for one in card.classes:
        whole = one.rows[0] + one.rows[2]
        assert one.rows[2] == pytest.approx(0.2 * whole, abs=0.51)
    assert not any(one.exact for one in card.duplicates)
    near = {(one.split, one.other_split): one.near for one in card.duplicates}
    assert near["test", "train"] > 10
