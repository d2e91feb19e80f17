"""Entities that a head tags: predictions keep their places, also as text."""

import json
from pathlib import Path

import pytest

from harness.config.settings import GENERATION
from harness.data.rows import Span
from harness.tasks.entities import Entities, TaggedEntities
from harness.tasks.entity_format import Mention
from harness.tasks.task import Task, load_task
from harness.tasks.types import HEAD_TYPES, TASK_TYPES, AnswerMode, type_for_head
from tests import toy, toy_tags

TEXT = "Iron; iron [1:2]\npills and ferric  iron."
ENTITIES = ((0, 4, "MED"), (6, 22, "MED"), (27, 39, "DOSE"), (35, 39, "MED"))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    toy_tags.save_task(tmp_path)
    spans = [{"start": a, "end": b, "label": label} for a, b, label in ENTITIES]
    row = json.dumps({"id": "one", "text": TEXT, "entities": spans})
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(row, encoding="utf-8")
    return load_task(f"{tmp_path}/")


def test_the_head_makes_it_another_kind(task: Task, tmp_path: Path) -> None:
    assert type(task.type) is TaggedEntities
    assert task.type.answers is AnswerMode.TAGGED
    assert not task.type.supports_few_shot
    assert not task.type.supports_zero_shot
    assert task.type.head.labels == ("O", "B-MED", "I-MED", "B-DOSE", "I-DOSE")
    written = toy.load_task(tmp_path / "written")
    assert type(written.type) is Entities
    assert written.type.head == GENERATION
    assert written.type.supports_zero_shot
    assert set(HEAD_TYPES) == {("entities", "token_classification")}
    assert all(
        type_for_head(name, "generation") is TASK_TYPES.get(name) for name in TASK_TYPES.names()
    )


def test_nothing_is_asked(task: Task) -> None:
    (example,) = task.examples("test")
    assert task.prompt(example) == ""
    assert task.type.fields == ()


def test_places_are_written_and_read_back(task: Task) -> None:
    (example,) = task.examples("test")
    right = example.row.entities
    line = task.write(right)
    assert line == (
        r" MED: Iron [0:4]; iron [1:2] pills [6:22]; iron [35:39] | DOSE: ferric iron [27:39]"
    )
    assert task.target(example) == line
    parsed = task.parse(line)
    assert not parsed.unparsed
    assert sorted(one[:3] for one in parsed.prediction) == sorted(one[:3] for one in right)
    assert {" ".join(one.text.split()) for one in right} == {one.text for one in parsed.prediction}
    assert task.write(()) == " MED: none | DOSE: none"
    assert task.parse(" MED: none | DOSE: none").prediction == ()


def test_a_mention_without_a_place_cannot_be_read(task: Task) -> None:
    parsed = task.parse(" MED: Iron [0:4]; iron | DOSE: none")
    assert parsed.unparsed
    assert parsed.prediction == (Span(0, 4, "MED", "Iron"),)


def test_metrics_have_what_they_read(task: Task) -> None:
    (example,) = task.examples("test")
    right = example.row.entities
    assert set(task.evaluate([right], [example]).values.values()) <= {0.0, 1.0}
    assert task.evaluate([right], [example]).values["span_f1_strict"] == 1.0
    # The right words at another place: mentions are right, spans are not.
    moved = (right[0], right[1], right[2], Span(11, 15, "MED", "iron"))
    found = task.evaluate([moved], [example]).values
    assert found["entity_f1"] == 1.0
    assert found["span_f1_strict"] == 0.75
    # Nested entities cannot be tagged, yet they count.
    assert task.evaluate([right[:3]], [example]).values["span_f1_strict"] == pytest.approx(6 / 7)


def test_the_dictionary_of_training_entities_has_places_too(task: Task) -> None:
    (found,) = task.baseline_predictions("dictionary", "test")
    assert all(TEXT[one.start : one.end] == one.text for one in found)
    assert Span(0, 4, "MED", "Iron") in found
    assert task.evaluate([found], task.examples("test")).values["span_f1_strict"] > 0.5


def test_what_was_never_seen_is_counted_as_for_written_mentions(task: Task) -> None:
    (example,) = task.examples("test")
    assert task.type.mentions(example.row.entities) == example.reference
    assert example.reference[1] == Mention("MED", "iron [1:2] pills")
    assert task.type.seen_in_training(example) == (True,) * 4
