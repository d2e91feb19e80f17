"""The study as one sees it who needs a bound kept: configurations that break it do not take part.

Costs are measured, not chosen by their scores, so that leaving some out beforehand costs no error:
those that stay are a smaller family of comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from harness.analysis.naming import cost_words, labels_of
from harness.analysis.scores import configurations
from harness.costs import Preference, parse

if TYPE_CHECKING:
    from harness.results import StudyResults

_STAGE = "confirm"


class Within(NamedTuple):
    """A study under bounds.

    Attributes:
        results: without the confirmed trials of configurations that break one.
        left_out: these configurations as `configurations` has them, cheapest first.
        bounds: the bounds.
    """

    results: StudyResults
    left_out: pd.DataFrame
    bounds: tuple[Preference, ...]


def bounds_of(results: StudyResults) -> tuple[Preference, ...]:
    """What the sweep itself asks for under `confirmation.prefer`."""
    settings = results.sweep.get("confirmation") or {}
    return tuple(parse(str(text)) for text in settings.get("prefer") or ())


def keeping(table: pd.DataFrame, bounds: Sequence[Preference]) -> pd.Series:
    """Which rows of a table of configurations keep all bounds."""
    kept = pd.Series(True, index=table.index)
    for bound in bounds:
        kept &= table[bound.cost].astype(float).map(bound.holds)
    return kept


def within(results: StudyResults, prefer: Sequence[Preference] = ()) -> Within:
    """The study under the sweep's bounds and those given.

    Args:
        results: the study.
        prefer: further bounds.
    """
    bounds = tuple(dict.fromkeys([*bounds_of(results), *prefer]))
    table = configurations(results, _STAGE)
    if not bounds or table.empty:
        return Within(results, table.iloc[:0], bounds)
    out = table[~keeping(table, bounds)]
    if out.empty:
        return Within(results, out, bounds)
    trials = results.trials
    gone = (trials["stage"] == _STAGE) & trials["key"].isin(out["key"])
    first = bounds[0].cost
    return Within(replace(results, trials=trials[~gone]), out.sort_values([first, "key"]), bounds)


def told(found: Within) -> str:
    """One sentence on what was left out; empty where nothing was."""
    if found.left_out.empty:
        return ""
    names = []
    labels = labels_of(found.left_out)
    for label, row in zip(labels, found.left_out.to_dict("records"), strict=True):
        amounts = [(bound, float(row[bound.cost])) for bound in found.bounds]
        broken = [cost_words(bound.cost, has) for bound, has in amounts if not bound.holds(has)]
        names.append(f"{label} [{', '.join(broken)}]")
    asked = " and ".join(bound.text for bound in found.bounds)
    return f"Left out by {asked}: {'; '.join(names)}."


def none_fits(found: Within) -> str:
    """The verdict where every finalist breaks a bound."""
    asked = " and ".join(bound.text for bound in found.bounds)
    least = found.left_out.iloc[0]
    name = labels_of(found.left_out)[0]
    amounts = ", ".join(
        cost_words(cost, float(least[cost]))
        for cost in dict.fromkeys(bound.cost for bound in found.bounds)
    )
    return (
        f"None of {len(found.left_out)} finalists keeps {asked}; nearest is {name} with "
        f"{amounts}. A sweep with this under confirmation.prefer confirms others that keep it."
    )
