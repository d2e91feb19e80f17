"""ROUGE, and perplexity by token and word and bits per byte.

ROUGE (Lin 2004) is `rouge_score`'s with stemming: F1 of shared n-grams or of the longest common
subsequence. `rougeL` takes a text as one sequence, `rougeLsum` line by line.

Perplexity by token depends on the tokenizer, so it compares adapters of one base model but not two
base models; words and bytes belong to the text. They are counted as lm-evaluation-harness does
(its task wikitext), so that values can be compared with published ones: words are the parts of a
text split at white space, including an empty part at either end.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import Any, Final, NamedTuple

from harness.metrics.metric import add_metric

#: Names as `rouge_score` and the papers write them.
NAMES: Final = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # imports nltk, which takes a second

    return RougeScorer([name], use_stemmer=True)


def score_rouge(
    prediction: str, reference: str, classes: tuple[str, ...], name: str
) -> tuple[float, ...]:
    """F1 of one example by one of `NAMES`, and 1 for the example."""
    del classes
    return float(_scorer(name).score(reference, prediction)[name].fmeasure), 1.0


for _name in NAMES:
    _unit = f"points of {_name.replace('rouge', 'ROUGE-')}"
    add_metric(_name, "share", _unit, partial(score_rouge, name=_name), "pairs")


_WHITE_SPACE: Final = re.compile(r"\s+")


class Likelihood(NamedTuple):
    """How likely a model finds one text.

    Attributes:
        nll: negative log-likelihood in nats, summed over the scored tokens.
        tokens: how many tokens were scored.
    """

    nll: float
    tokens: int


def nll_by_token(
    prediction: Likelihood, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """Negative log-likelihood in nats, and the number of scored tokens."""
    del reference, classes
    return float(prediction.nll), float(prediction.tokens)


def nll_by_word(
    prediction: Likelihood, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """Negative log-likelihood in nats, and the number of words of the text."""
    del classes
    return float(prediction.nll), float(len(_WHITE_SPACE.split(reference)))


def nll_by_byte(
    prediction: Likelihood, reference: str, classes: tuple[str, ...]
) -> tuple[float, ...]:
    """Negative log-likelihood in nats, and the number of UTF-8 bytes of the text."""
    del classes
    return float(prediction.nll), float(len(reference.encode()))


for _name, _form, _unit, _score in (
    ("perplexity", "perplexity", "perplexity", nll_by_token),
    ("word_perplexity", "word_perplexity", "perplexity by word", nll_by_word),
    ("bits_per_byte", "bits", "bits per byte", nll_by_byte),
):
    add_metric(_name, _form, _unit, _score, "text", direction="minimize", scale=1.0)
