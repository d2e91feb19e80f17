"""Scores of a split, and language modelling: texts in pieces or packed into rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence, collate, pack_sequences
from harness.tasks.entity_format import Mention
from harness.tasks.task import Task
from harness.training.evaluation import (
    Answer,
    evenly_spaced,
    has_single_line_answers,
    newline_ids,
    objective_value,
    score,
    score_answers,
    score_predictions,
)
from harness.training.losses import CompletionLoss, keeps_sequences_apart
from harness.training.tokenization import TokenizedTask
from harness.trial import SplitScores
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
    scores = score(base, task, "validation", shots=task.few_shot_examples(2))
    rows = [
        task.score(task.parse(text).prediction, example)
        for text, example in zip(scores.predictions, task.examples("validation"), strict=True)
    ]
    assert tuple(rows) == scores.statistics
    assert objective_value(task, scores) == scores.values["entity_f1"]


def test_a_line_break_ends_an_answer_of_one_line(base: BaseModel, task: Task) -> None:
    assert has_single_line_answers(task)
    assert newline_ids(base) == {base.tokenizer("\n", add_special_tokens=False).input_ids[0]}
    assert not any("\n" in text for text in score(base, task, "validation").predictions)


def test_worked_examples_change_what_is_written(base: BaseModel, task: Task) -> None:
    plain = score(base, task, "validation")
    shots = score(base, task, "validation", shots=task.few_shot_examples(2))
    assert plain.predictions != shots.predictions


def test_batches_do_not_change_the_order(base: BaseModel, task: Task) -> None:
    assert score(base, task, "validation", batch_size=2) == score(base, task, "validation")


def test_answers_have_a_bound(base: BaseModel, tmp_path: Path) -> None:
    short = toy.load_task(tmp_path / "short", max_new_tokens=3)
    scores = score(base, short, "validation", tokens=TokenizedTask(base, short, 100))
    # A token of this tokenizer is one letter at most.
    assert 0 < max(map(len, scores.predictions)) <= 3


def test_a_part_is_spread_evenly(base: BaseModel, task: Task) -> None:
    part = score(base, task, "validation", examples=2)
    assert part.ids == ("validation-0", "validation-2")
    all_scores = score(base, task, "validation", examples=99)
    assert len(all_scores.ids) == len(task.examples("validation"))
    assert part.predictions[1] == all_scores.predictions[2]


@pytest.mark.parametrize(("count", "selection"), [(200, 64), (5, 3), (7, 7), (3, 1)])
def test_evenly_spaced_indices(count: int, selection: int) -> None:
    indices = evenly_spaced(count, selection)
    assert len(set(indices)) == selection
    assert list(indices) == sorted(indices)
    gaps = np.diff((*indices, count))
    assert gaps.max() - gaps.min() <= 1
    assert evenly_spaced(count, None) == tuple(range(count))


def test_gold_answers_are_perfect_and_garbage_counts_as_wrong(task: Task) -> None:
    examples = task.examples("validation")

    def score_all(texts: list[str]) -> SplitScores:
        parsed = [task.parse(text) for text in texts]
        answers = [
            Answer(p.prediction, text, p.unparsed) for p, text in zip(parsed, texts, strict=True)
        ]
        return score_answers(task, "validation", examples, answers)

    gold = score_all([task.target(example) for example in examples])
    assert gold.values["entity_f1"] == 1.0
    assert gold.values["unparsed"] == 0.0
    wrong = score_all(["garbage"] * len(examples))
    assert wrong.values["entity_f1"] == 0.0
    assert wrong.unparsed == (True,) * len(examples)


def test_predictions_without_a_model(task: Task) -> None:
    scores = score_predictions(
        task, "validation", task.baseline_predictions("dictionary", "validation")
    )
    # Known from training: Advil, 5 mg, Xarel, Zocor, Advil; new: 8 mg and Bumex.
    assert scores.values["entity_f1"] == pytest.approx(2 * 5 / (2 * 5 + 0 + 2))
    assert scores.predictions[0] == " MED: Advil | DOSE: 5 mg"
    read = [task.parse(text).prediction for text in scores.predictions]
    assert read == list(task.baseline_predictions("dictionary", "validation"))
    assert not any(scores.unparsed)
    perfect = [example.reference for example in task.examples("validation")]
    assert score_predictions(task, "validation", perfect).values["entity_f1"] == 1.0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        score_predictions(task, "validation", [(Mention("MED", "x"),)])


@pytest.fixture
def prose(tmp_path: Path) -> Task:
    return toy.load_prose(tmp_path)


def test_rows_are_packed_first_fit_and_lose_nothing() -> None:
    texts = [TokenSequence(tuple(range(n)), 0) for n in (3, 9, 5, 2, 7, 4, 10)]
    rows = pack_sequences(texts, 10)
    assert all(len(row.ids) <= 10 for row in rows)
    assert sorted(len(row.ids) for row in rows) == [2, 9, 9, 10, 10]
    pieces = []
    for row in rows:
        for start, end in zip((0, *row.breaks), (*row.breaks, len(row.ids)), strict=True):
            pieces.append(row.ids[start:end])
    assert sorted(map(len, pieces)) == sorted(len(text.ids) for text in texts)
    assert all(piece == tuple(range(len(piece))) for piece in pieces)
    assert rows == pack_sequences(texts, 10)


def test_packed_texts_have_the_loss_and_gradient_that_they_have_alone(base: BaseModel) -> None:
    texts = [TokenSequence(tuple(range(10 + n, 10 + n + size)), 0)
             for n, size in enumerate((7, 4, 9, 5, 3))]  # fmt: skip
    rows = pack_sequences(texts, 16)
    assert any(row.breaks for row in rows)
    loss = CompletionLoss(base.model)
    weight = base.model.get_input_embeddings().weight
    weight.requires_grad_(True)
    try:
        results = []
        for sequences in (texts, list(rows)):
            batch = collate(sequences, 0, base.device)
            value = loss(batch)
            (gradient,) = torch.autograd.grad(value, weight)
            results.append((value.item(), gradient, batch.targets.numel()))
    finally:
        weight.requires_grad_(False)
    assert results[0][2] == results[1][2] == sum(len(text.ids) - 1 for text in texts)
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-4)


def test_a_model_that_would_mix_texts_is_found_out(base: BaseModel) -> None:
    assert keeps_sequences_apart(base.model)

    class Mixing(torch.nn.Module):
        config = base.model.config

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            return base.model(input_ids=input_ids, use_cache=False)

        def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
            return base.model.parameters(recurse)

    assert not keeps_sequences_apart(Mixing())  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", [False, True])
def test_every_token_of_a_text_is_trained_on(base: BaseModel, prose: Task, packing: bool) -> None:
    tokens = TokenizedTask(base, prose, 40, packing).training()
    tokenizer = base.tokenizer
    pieces = []
    for row in tokens.sequences:
        assert row.start == 0
        assert len(row.ids) <= 40
        for start, end in zip((0, *row.breaks), (*row.breaks, len(row.ids)), strict=True):
            assert row.ids[start] == tokenizer.bos_token_id
            pieces.append(tokenizer.decode(row.ids[start + 1 : end]))
    texts = [example.target for example in prose.examples("train")]
    assert tokens.cut == sum(len(text) + 2 > 40 for text in texts) > 0
    assert sorted("".join(sorted(pieces))) == sorted("".join(f"{text}</s>" for text in texts))
    assert any(row.breaks for row in tokens.sequences) is packing


def test_texts_are_scored_whole_behind_the_start(base: BaseModel, prose: Task) -> None:
    texts = TokenizedTask(base, prose, 8).texts("test")
    for ids, example in zip(texts, prose.examples("test"), strict=True):
        assert base.tokenizer.decode(ids) == f"<s>{example.target}"
