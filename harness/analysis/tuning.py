"""Which learning rate a cell of the ablation goes on with, from the runs that tuned it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.analysis.bootstrap import influence, scores
from harness.analysis.scores import panel, value_of

if TYPE_CHECKING:
    from harness.results import StudyResults

_STAGE: Final = "tune"
_SPLIT: Final = "validation"
#: Standard normal quantile of a one-sided 95 % bound.
_BOUND: Final = 1.645


def tuned_rate(results: StudyResults, keys: Mapping[float, str]) -> float | None:
    """The lowest learning rate that is not shown to be worse than the best one.

    The rates of a cell are run on one seed, whose luck is no reason for a higher rate: high rates
    make scores differ more over seeds, and a run on fewer steps favours them. So the highest score
    decides only where its lead over a lower rate is more than the examples can explain: above
    1.645 standard errors of the difference, paired by example (jackknife). It is the
    one-standard-error rule of Breiman, Friedman, Olshen and Stone 1984 (section 3.4.3), with a
    one-sided 95 % bound in place of one standard error.

    Args:
        results: the study, its tune stage done.
        keys: the configuration that was run at each learning rate.

    Returns:
        One of the rates; None if every run failed.
    """
    rates = {key: rate for rate, key in keys.items()}
    try:
        found = panel(results, _STAGE, _SPLIT, tuple(rates))
    except ValueError:
        return None
    statistics, value = found.statistics, value_of(results.objective)
    values = results.objective.sign * np.nanmean(scores(statistics, value), axis=1)
    effects = results.objective.sign * np.nanmean(influence(statistics, value), axis=1)
    best = int(np.argmax(values))
    lead = effects[best] - effects
    error = np.zeros(len(lead))
    if lead.shape[1] > 1:
        error = lead.std(axis=1, ddof=1) / np.sqrt(lead.shape[1])
    close = values[best] - values <= _BOUND * error
    return min(rates[key] for key, near in zip(found.keys, close, strict=True) if near)
