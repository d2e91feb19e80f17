"""Against the definitions, and against torch's own cross-entropy of a sequence."""

from __future__ import annotations

import math
import random

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from harness.aggregates import FORMS
from harness.metrics.metric import METRICS
from harness.metrics.text import NAMES, Likelihood

WORDS = [
    "the",
    "patient",
    "was",
    "given",
    "aspirins",
    "daily",
    "for",
    "walking",
    "running",
    "pain",
    ".",
    "now",
    "he",
    "is",
    "well",
]


def drawn(generator: random.Random) -> str:
    lines = [
        " ".join(generator.choices(WORDS, k=generator.randrange(0, 9)))
        for _ in range(generator.randrange(1, 4))
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_rouge_score_says_on_hundreds_of_pairs(name: str) -> None:
    generator = random.Random(0)
    metric, oracle = METRICS.get(name), RougeScorer(list(NAMES), use_stemmer=True)
    pairs = [(drawn(generator), drawn(generator)) for _ in range(300)]
    rows = [metric.score(found, wanted, ("text",)) for found, wanted in pairs]
    expected = [oracle.score(wanted, found)[name].fmeasure for found, wanted in pairs]
    assert [row[0] for row in rows] == pytest.approx(expected)
    assert metric.aggregate(rows, ("text",)) == pytest.approx(sum(expected) / len(expected))
    assert 0 < sum(expected) < len(expected)


def test_stems_are_compared() -> None:
    (found, _) = METRICS.get("rouge1").score("he walks", "he walked", ("text",))
    assert found == 1.0


TEXTS = ["Pain is gone.", "Zürich,  5 µg\nand rest", "one"]


def aggregate(name: str, likelihoods: list[Likelihood]) -> float:
    metric = METRICS.get(name)
    rows = [metric.score(*pair, ("all",)) for pair in zip(likelihoods, TEXTS, strict=True)]
    return metric.aggregate(rows, ("all",))


def test_it_is_the_exponent_of_torchs_mean_loss() -> None:
    torch.manual_seed(0)
    found, losses = [], []
    for count in (5, 9, 2):
        logits, targets = torch.randn(count, 30), torch.randint(30, (count,))
        each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        losses.append(each)
        found.append(Likelihood(float(each.sum()), count))
    whole = torch.cat(losses)
    assert aggregate("perplexity", found) == pytest.approx(float(whole.mean().exp()), rel=1e-6)


def test_words_and_bytes_are_the_texts_own() -> None:
    found = [Likelihood(10.0, 4), Likelihood(20.0, 9), Likelihood(5.0, 1)]
    # 3 + 5 + 1 words; 13 + 24 + 3 bytes, for an umlaut and a micro sign take two each
    assert aggregate("word_perplexity", found) == pytest.approx(math.exp(35 / 9))
    assert aggregate("bits_per_byte", found) == pytest.approx(35 / math.log(2) / 40)


def test_words_are_cut_as_lm_evaluation_harness_cuts_them() -> None:
    words = METRICS.get("word_perplexity").score(Likelihood(1.0, 1), " two words\n", ("all",))[1]
    assert words == 4.0  # with an empty one at each end


def test_a_uniform_model_over_bytes_needs_eight_bits_a_byte() -> None:
    found = [Likelihood(len(text.encode()) * math.log(256), 7) for text in TEXTS]
    assert aggregate("bits_per_byte", found) == pytest.approx(8.0)


@pytest.mark.parametrize("name", ["perplexity", "word_perplexity", "bits_per_byte"])
def test_no_likelihood_is_below_the_least_value(name: str) -> None:
    form, rng = FORMS[METRICS.get(name).form], random.Random(0)
    certain = aggregate(name, [Likelihood(0.0, 3)] * 3)
    assert certain == form.least
    for _ in range(100):
        found = [Likelihood(rng.expovariate(0.1), rng.randint(1, 9)) for _ in TEXTS]
        assert aggregate(name, found) > certain


def test_they_are_for_texts_and_less_is_better() -> None:
    for name in ("perplexity", "word_perplexity", "bits_per_byte"):
        metric = METRICS.get(name)
        assert (metric.task_types, metric.direction, metric.reads) == (
            ("text",),
            "minimize",
            "answer",
        )
