from pathlib import Path

import numpy as np
import pytest

from harness.models.base_model import BaseModel
from harness.tasks.entity_format import Mention
from harness.tasks.task import Task
from harness.training.evaluation import (
    evenly,
    newline_ids,
    objective_value,
    one_line,
    score,
    score_predictions,
    score_texts,
)
from harness.training.tokenization import TaskTokens
from tests import toy


def test_every_example_is_scored_in_order(base: BaseModel, task: Task) -> None:
    scores = score(base, task, "validation")
    examples = task.examples("validation")
    assert scores.split == "validation"
    assert scores.ids == tuple(example.id for example in examples)
    assert len(scores.predictions) == len(scores.statistics) == len(examples)
    assert {len(row) for row in scores.statistics} == {len(task.objective.columns)}
    assert "entity_f1" in scores.values
    assert "unparsed" in scores.values


def test_scores_can_be_rebuilt_from_what_was_written(base: BaseModel, task: Task) -> None:
    scores = score(base, task, "validation", shots=task.worked(2))
    rows = [
        task.score(task.parse(text).prediction, example)
        for text, example in zip(scores.predictions, task.examples("validation"), strict=True)
    ]
    assert tuple(rows) == scores.statistics
    assert objective_value(task, scores) == scores.values["entity_f1"]


def test_a_line_break_ends_an_answer_of_one_line(base: BaseModel, task: Task) -> None:
    assert one_line(task)
    assert newline_ids(base) == {base.tokenizer("\n", add_special_tokens=False).input_ids[0]}
    assert not any("\n" in text for text in score(base, task, "validation").predictions)


def test_worked_examples_change_what_is_written(base: BaseModel, task: Task) -> None:
    plain = score(base, task, "validation")
    shots = score(base, task, "validation", shots=task.worked(2))
    assert plain.predictions != shots.predictions


def test_batches_do_not_change_the_order(base: BaseModel, task: Task) -> None:
    assert score(base, task, "validation", batch_size=2) == score(base, task, "validation")


def test_answers_have_a_bound(base: BaseModel, tmp_path: Path) -> None:
    short = toy.load_task(tmp_path / "short", max_new_tokens=3)
    scores = score(base, short, "validation", tokens=TaskTokens(base, short, 100))
    # A token of this tokenizer is one letter at most.
    assert 0 < max(map(len, scores.predictions)) <= 3


def test_a_part_is_spread_evenly(base: BaseModel, task: Task) -> None:
    part = score(base, task, "validation", examples=2)
    assert part.ids == ("validation-0", "validation-2")
    whole = score(base, task, "validation", examples=99)
    assert len(whole.ids) == len(task.examples("validation"))
    assert part.predictions[1] == whole.predictions[2]


@pytest.mark.parametrize(("count", "wanted"), [(200, 64), (5, 3), (7, 7), (3, 1)])
def test_evenly_spaced_indices(count: int, wanted: int) -> None:
    found = evenly(count, wanted)
    assert len(set(found)) == wanted
    assert list(found) == sorted(found)
    gaps = np.diff((*found, count))
    assert gaps.max() - gaps.min() <= 1
    assert evenly(count, None) == tuple(range(count))


def test_right_texts_are_perfect_and_garbage_counts_as_wrong(task: Task) -> None:
    examples = task.examples("validation")
    right = score_texts(task, "validation", examples, [task.target(one) for one in examples])
    assert right.values["entity_f1"] == 1.0
    assert right.values["unparsed"] == 0.0
    wrong = score_texts(task, "validation", examples, ["garbage"] * len(examples))
    assert wrong.values["entity_f1"] == 0.0
    assert wrong.unparsed == (True,) * len(examples)


def test_predictions_without_a_model(task: Task) -> None:
    scores = score_predictions(task, "validation", task.guesses("dictionary", "validation"))
    # Known from training: Advil, 5 mg, Xarel, Zocor, Advil; new: 8 mg and Bumex.
    assert scores.values["entity_f1"] == pytest.approx(2 * 5 / (2 * 5 + 0 + 2))
    assert scores.predictions[0] == " MED: Advil | DOSE: 5 mg"
    read = [task.parse(text).prediction for text in scores.predictions]
    assert read == list(task.guesses("dictionary", "validation"))
    assert not any(scores.unparsed)
    perfect = [example.reference for example in task.examples("validation")]
    assert score_predictions(task, "validation", perfect).values["entity_f1"] == 1.0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        score_predictions(task, "validation", [(Mention("MED", "x"),)])
