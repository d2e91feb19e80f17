import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness.metrics.metric import METRICS
from harness.metrics.text import NAMES

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
