import math
import random
from collections.abc import Sequence

import pytest
import torch

from harness.models.base_model import BaseModel
from harness.training import likelihood
from harness.training.likelihood import (
    AmbiguousError,
    most_likely_answers,
    text_log_likelihoods,
    windows,
)

PAD = 0


def log_probability(base: BaseModel, ids: Sequence[int], start: int) -> float:
    """Of `ids[start:]` after `ids[:start]`, alone in its batch."""
    with torch.no_grad():
        logits = base.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    logs = logits.double().log_softmax(dim=-1)
    return sum(float(logs[position - 1, ids[position]]) for position in range(start, len(ids)))


def sequences(count: int, longest: int, seed: int = 0) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    return [
        tuple(draw.randrange(3, 250) for _ in range(draw.randint(1, longest)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_texts_have_the_sum_of_their_tokens(base: BaseModel, batch_size: int) -> None:
    texts = sequences(9, 20)
    scores = text_log_likelihoods(base.model, texts, 64, 32, PAD, batch_size)
    for ids, score in zip(texts, scores, strict=True):
        assert score.tokens == len(ids) - 1
        assert score.nll == pytest.approx(-log_probability(base, ids, 1), abs=1e-3)


def test_long_texts_are_scored_in_windows(base: BaseModel) -> None:
    ids = sequences(1, 2, seed=3)[0] + tuple(range(3, 53))
    (windowed,) = text_log_likelihoods(base.model, [ids], 16, 6, PAD, 4)
    expected, done = -log_probability(base, ids[:16], 1), 16
    while done < len(ids):
        end = min(done + 6, len(ids))
        expected -= log_probability(base, ids[end - 16 : end], 16 - (end - done))
        done = end
    assert windowed.tokens == len(ids) - 1
    assert windowed.nll == pytest.approx(expected, abs=1e-3)
    (single_window,) = text_log_likelihoods(base.model, [ids], 64, 32, PAD, 4)
    assert single_window.nll != pytest.approx(windowed.nll, abs=1e-3)


@pytest.mark.parametrize(("length", "stride"), [(8, 7), (8, 3), (8, 1), (2, 1), (100, 50)])
@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 31])
def test_each_token_but_the_first_is_scored_once(size: int, length: int, stride: int) -> None:
    ids = tuple(range(size))
    scored: list[int] = []
    for window in windows(ids, length, stride):
        assert len(window.ids) <= length
        assert window.start >= 1
        scored += window.ids[window.start :]
        if window.ids[0] > 0:
            assert window.start >= length - stride
    assert scored == list(ids[1:])


def test_few_logits_are_held_at_once(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = sequences(9, 20)
    together = text_log_likelihoods(base.model, texts, 64, 32, PAD, 64)
    monkeypatch.setattr(likelihood, "_MAX_LOGITS", 1)
    for actual, expected in zip(
        together, text_log_likelihoods(base.model, texts, 64, 32, PAD, 64), strict=True
    ):
        assert actual.nll == pytest.approx(expected.nll, abs=1e-4)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("batch_size", [2, 64])
def test_the_likeliest_answer_is_that_of_a_full_count(
    base: BaseModel, seed: int, batch_size: int
) -> None:
    draw = random.Random(seed)
    prompts = [ids or (5,) for ids in sequences(7, 12, seed)]
    # Answers share beginnings, and differ in length; an end of text ends each.
    alphabet = [draw.randrange(3, 250) for _ in range(3)]
    bodies = {tuple(draw.choice(alphabet) for _ in range(draw.randint(1, 5))) for _ in range(30)}
    answers = [(*body, 2) for body in sorted(bodies)]
    best = most_likely_answers(base.model, prompts, answers, PAD, batch_size)
    for prompt, index in zip(prompts, best, strict=True):
        sums = [log_probability(base, (*prompt, *answer), len(prompt)) for answer in answers]
        assert sums[index] == pytest.approx(max(sums), abs=1e-4)


def test_one_answer_alone_is_the_likeliest(base: BaseModel) -> None:
    assert most_likely_answers(base.model, [(5, 6), (7,)], [(9, 2)], PAD, 4) == [0, 0]


@pytest.mark.parametrize(
    ("answers", "indices"),
    [
        ([(5,), (6,), (5, 7)], (0, 2)),
        ([(5, 7), (5,)], (1, 0)),
        ([(5,), (5,)], (0, 1)),
        ([(5,), ()], (1, 0)),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(
    base: BaseModel, answers: list[tuple[int, ...]], indices: tuple[int, int]
) -> None:
    with pytest.raises(AmbiguousError) as error:
        most_likely_answers(base.model, [(5,)], answers, PAD, 4)
    assert error.value.answers == indices


def test_a_uniform_model_has_the_size_of_its_vocabulary_as_perplexity(base: BaseModel) -> None:
    class Flat(torch.nn.Module):
        config = base.model.config

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            size = int(self.config.vocab_size)
            return type("Out", (), {"logits": torch.zeros(*input_ids.shape, size)})

    likelihoods = text_log_likelihoods(Flat(), sequences(3, 9), 8, 4, PAD, 2)  # type: ignore[arg-type]
    for text in likelihoods:
        if text.tokens:
            size = math.exp(text.nll / text.tokens)
            assert size == pytest.approx(int(base.model.config.vocab_size), rel=1e-5)
