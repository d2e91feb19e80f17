"""ROUGE (Lin 2004) with stemming, as `rouge_score` has it: F1 of shared n-grams or of the LCS.

`rougeL` takes a text as one sequence, `rougeLsum` sentence by sentence (a line each).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

from harness.metrics.metric import METRICS, Metric, no_breakdown

#: Names as `rouge_score` and the papers write them.
NAMES: Final = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk, which takes a second

    return RougeScorer([name], use_stemmer=True)


def score(
    prediction: str, reference: str, classes: tuple[str, ...], name: str
) -> tuple[float, ...]:
    """F1 of one example, and 1 for the example.

    Args:
        prediction: what was written.
        reference: what should have been.
        classes: not used; a text has none.
        name: one of `NAMES`.
    """
    del classes
    return float(_scorer(name).score(reference, prediction)[name].fmeasure), 1.0


for _name in NAMES:
    METRICS.add(
        _name,
        Metric(
            _name,
            "share",
            "maximize",
            100.0,
            f"points of {_name.replace('rouge', 'ROUGE-')}",
            partial(score, name=_name),
            no_breakdown,
            ("pairs",),
        ),
    )
