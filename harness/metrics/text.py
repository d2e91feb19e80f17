"""ROUGE (Lin 2004) with stemming, as `rouge_score` has it: F1 of shared n-grams or of the LCS.

`rougeL` takes a text as one sequence, `rougeLsum` sentence by sentence (a line each).

How likely a model finds a text: perplexity by token and by word, bits by byte; less is better.

By token it depends on the tokenizer, so it compares adapters of one base and no two bases; words
and bytes are the text's own. They are counted as lm-evaluation-harness counts them (its task
wikitext), so that figures can be put beside published ones: words are what is left when a text is
cut at each stretch of white space, an empty end included.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from harness.metrics.metric import METRICS, Metric, no_class_values

if TYPE_CHECKING:
    from collections.abc import Callable


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
            no_class_values,
            ("pairs",),
        ),
    )


_GAP: Final = re.compile(r"\s+")


class Likelihood(NamedTuple):
    """What a model says of one text.

    Attributes:
        nll: negative log-likelihood in nats, summed over the scored tokens.
        tokens: how many tokens were scored.
    """

    nll: float
    tokens: int


def by_token(
    prediction: Likelihood, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """The negative log-likelihood in nats and the number of scored tokens."""
    del reference, classes
    return float(prediction.nll), float(prediction.tokens)


def by_word(prediction: Likelihood, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """The negative log-likelihood in nats and the number of words of the text."""
    del classes
    return float(prediction.nll), float(len(_GAP.split(reference)))


def by_byte(prediction: Likelihood, reference: str, classes: tuple[str, ...]) -> tuple[float, ...]:
    """The negative log-likelihood in nats and the number of bytes of the text in UTF-8."""
    del classes
    return float(prediction.nll), float(len(reference.encode()))


def _add(name: str, form: str, unit: str, score: Callable[..., tuple[float, ...]]) -> None:
    METRICS.add(name, Metric(name, form, "minimize", 1.0, unit, score, no_class_values, ("text",)))


_add("perplexity", "perplexity", "perplexity", by_token)
_add("word_perplexity", "word_perplexity", "perplexity by word", by_word)
_add("bits_per_byte", "bits", "bits per byte", by_byte)
