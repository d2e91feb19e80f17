"""Limitations of a study's evidence, as sentences: what was not tested, measured or decided."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

from harness.analysis.ablation import FACTORS, ablation_table, all_cells, at_edge
from harness.analysis.formatting import highest, labels_of, metric_format
from harness.analysis.scores import baselines, complete, configurations, shots
from harness.analysis.verdict import POWER, SPLIT, STAGE, ConfirmState, current_look

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.estimates import PairwiseComparison
    from harness.results import StudyResults


#: A class with fewer mentions or examples in a split has an unreliable score.
RARE: Final = 30
#: More classes than these are counted, not named.
_NAMED: Final = 4
_COUNTS: Final = ("tp", "fp", "fn")


def unmeasured(results: StudyResults, state: ConfirmState | None) -> list[str]:
    """Sentences on what the data could not show: small differences, rare classes, baselines."""
    parts = (_rare(results), _single_cells(results), _without_baselines(results))
    return [*_detectable(results, state), *itertools.chain(*parts)]


def minimum_detectable_difference(state: ConfirmState) -> float:
    """The smallest difference of two finalists that this look finds in 80 % of studies.

    Of the pair with the median error, by the joint bounds of all pairs: (q + z_0.8) se, in the
    metric's own unit; infinite where no error is known.
    """
    count = len(state.scores)
    errors = state.comparison.pairs.error[np.triu_indices(count, 1)]
    largest = np.abs(state.comparison.pairs.draws).max(axis=(0, 1))
    quantile = float(np.quantile(largest, 1 - state.look.alpha))
    return float((quantile + ndtri(POWER)) * np.median(errors))


def _detectable(results: StudyResults, state: ConfirmState | None) -> list[str]:
    if state is None:
        return []
    size, scores = minimum_detectable_difference(state), metric_format(results.objective)
    if not math.isfinite(size):
        return []
    return [
        f"Minimum detectable difference of two finalists at {100 * POWER:.0f} % power: "
        f"{scores.show(size)} {scores.unit}, with {state.look.seeds} seeds and "
        f"{len(state.comparison.array.examples)} examples."
    ]


def _rare(results: StudyResults) -> list[str]:
    objective = results.objective
    if objective.parts != _COUNTS or len(objective.classes) < 2:
        return []
    stage, split = (STAGE, SPLIT) if len(complete(results, STAGE)) else ("ablate", "validation")
    trials = complete(results, stage)
    if trials.empty:
        return []
    rows = results.examples
    rows = rows[(rows["trial"] == int(trials.iloc[0]["number"])) & (rows["split"] == split)]
    if rows.empty:
        return []
    counts = {
        name: int(rows[f"{name}.tp"].sum() + rows[f"{name}.fn"].sum())
        for name in objective.classes
    }
    rare = [f"{name} ({count})" for name, count in counts.items() if count < RARE]
    if not rare:
        return []
    named = ", ".join(rare) if len(rare) <= _NAMED else f"{len(rare)} of {len(counts)} classes"
    verb = "has" if len(rare) == 1 else "have"
    return [
        f"{named} {verb} fewer than {RARE} mentions in the {split} split: too few to compare "
        f"{'its' if len(rare) == 1 else 'their'} scores."
    ]


def _single_cells(results: StudyResults) -> list[str]:
    cells = complete(results, "ablate")
    single = int((cells.groupby("key")["seed"].nunique() == 1).sum()) if len(cells) else 0
    if not single:
        return []
    many = "cell of the ablation has" if single == 1 else "cells of the ablation have"
    return [f"{single} {many} one complete seed: their variance over seeds is unknown."]


def _without_baselines(results: StudyResults) -> list[str]:
    if complete(results, STAGE).empty:
        return []
    sentences = []
    if not any(shots(name) is not None for name in baselines(results, SPLIT)):
        sentences.append(
            "The base model without an adapter was not scored on the test split: what adapters "
            "gain over it is unknown."
        )
    full_fine_tuning = (results.sweep.get("baselines") or {}).get("full")
    if full_fine_tuning and complete(results, "full").empty:
        sentences.append(
            "Full fine-tuning has no complete training: how close adapters come to it is unknown."
        )
    return sentences


#: A variance over fewer seeds than this is a rough estimate.
FEW_SEEDS = 10
#: More levels than these are counted, not named; the tables mark each of them.
FEW_NAMES = 4
_LEVEL = 0.05
_NAMES = {
    "rank": "rank",
    "alpha_ratio": "alpha as a multiple of the rank",
    "target_modules": "target modules",
    "dropout": "dropout",
    "variant": "variant",
}


def not_supported(results: StudyResults, state: ConfirmState | None) -> tuple[str, ...]:
    """Sentences on what was not tested, not decided, not finished or left out."""
    comparison = all_cells(results)
    sentences = [
        *_leaked(results),
        *_confirmation(results, state),
        *unmeasured(results, state),
        *_ranks(results),
        *_best_cell(results, comparison),
        *_tuning(results),
        *_edges(results),
        *_widened(results),
        *_equal_levels(results, comparison),
        *_interactions(results),
        *_packed(results),
        *_dropped(results),
        _scope(results),
    ]
    return tuple(dict.fromkeys(sentences))


def _confirmation(results: StudyResults, state: ConfirmState | None) -> list[str]:
    rows = results.trials[results.trials["stage"] == STAGE]
    if rows.empty:
        reason = "search scores come from one seed, and the best of them"
        if (results.sweep.get("search") or {}).get("trials") == 0:
            reason = (
                "scores are on the validation split, which learning rates were tuned on too, and "
                "the best of many"
            )
        return [f"Nothing was confirmed: {reason} is optimistically biased."]
    sentences = []
    look = current_look(results)
    if any(str(name).startswith("added.") for name in results.attributes):
        sentences.append(
            f"Seeds were added to the planned looks ({look.seeds} seeds so far): the verdict is "
            "exploratory."
        )
    elif look.seeds < look.planned:
        sentences.append(
            f"The look at {look.planned} seeds is not complete ({look.seeds} so far): a verdict "
            "before that has no error guarantee."
        )
    elif look.seeds > look.planned:
        sentences.append(
            f"{look.seeds} seeds are more than the {look.planned} planned: the verdict is "
            "exploratory."
        )
    if look.seeds < FEW_SEEDS:
        many = f"{look.seeds} seeds" if look.seeds > 1 else "one seed"
        known = f"is estimated from {many} only" if look.seeds else "is unknown"
        sentences.append(f"The variance over training seeds {known}.")
    table = configurations(results, STAGE)
    names = labels_of(table)
    for name, key, seeds in zip(names, table["key"], table["seeds"], strict=True):
        failed = int(((rows["key"] == key) & (rows["state"] == "failed")).sum())
        if failed:
            sentences.append(
                f"{failed} of {failed + seeds} trainings of {name} failed; its score is that of "
                "the others only."
            )
        if seeds < 2:
            sentences.append(f"{name} was left out of the comparison: it has one complete seed.")
    lost = set(rows.loc[rows["state"] == "failed", "key"]) - set(table["key"])
    if lost:
        sentences.append(f"{len(lost)} finalists failed at every seed and were not compared.")
    return sentences + _undecided_cheaper(state, table)


def _undecided_cheaper(state: ConfirmState | None, table: pd.DataFrame) -> list[str]:
    if state is None or state.pick is None or not state.cheaper_undecided.any():
        return []
    names = dict(zip(table["key"], labels_of(table), strict=True))
    keys = itertools.compress(state.comparison.array.keys, state.cheaper_undecided)
    return [
        f"Inconclusive: {_and([names[key] for key in keys])}, cheaper than the pick, might also "
        "be within the margin."
    ]


def _ranks(results: StudyResults) -> list[str]:
    offered = (results.sweep.get("space") or {}).get("rank") or []
    tested = set(configurations(results, STAGE)["rank"])
    if not tested or not isinstance(offered, list | tuple):
        return []
    missing = [str(rank) for rank in offered if rank not in tested]
    if not missing:
        return []
    if len(missing) == 1:
        return [f"Rank {missing[0]} was not confirmed: the verdict does not cover it."]
    return [f"Ranks {_and(missing)} were not confirmed: the verdict does not cover them."]


def _best_cell(results: StudyResults, comparison: PairwiseComparison | None) -> list[str]:
    confirmed = set(configurations(results, STAGE)["key"])
    if comparison is None or not confirmed:
        return []
    best = int(np.argmax(results.objective.sign * comparison.values))
    if comparison.array.keys[best] in confirmed:
        return []
    table = configurations(results, "ablate")
    name = dict(zip(table["key"], labels_of(table), strict=True))[comparison.array.keys[best]]
    scores = metric_format(results.objective)
    return [
        f"The ablation's best cell, {name}, was not confirmed, though its score on validation "
        f"({scores.show(comparison.values[best])} {scores.unit}) is the "
        f"{highest(results.objective)} of {len(comparison.values)}: the best finalist may not be "
        "the best configuration."
    ]


def _tuning(results: StudyResults) -> list[str]:
    cells = results.attributes.get("cells") or ()
    share = float((results.attributes.get("plan") or {}).get("budget", 1.0))
    if not cells or share == 1.0:
        return []
    # Bjorck et al. 2024, "Scaling Optimal LR Across Token Horizons", arXiv:2409.19913
    part = Fraction(share).limit_denominator(10)
    return [
        f"Learning rates were tuned with {part} of the steps: a shorter run favours a higher "
        "rate, so a lower one may be better at full length."
    ]


def _edges(results: StudyResults) -> list[str]:
    cells = [cell for cell in results.attributes.get("cells") or () if cell["key"] is not None]
    sentences = []
    for end, extreme in (("lowest", min), ("highest", max)):
        levels = [
            f"{cell['factor']}={cell['level']} ({float(cell['rate']):.2g})"
            for cell in cells
            if at_edge(cell) and cell["rate"] == extreme(cell["rates"])
        ]
        if levels:
            many = f"{len(levels)} of {len(cells)} levels"
            listed = _and(levels) if len(levels) <= FEW_NAMES else many
            sentences.append(
                f"The best learning rate is the {end} of its grid for {listed}; run --extend-grid "
                "to widen it."
            )
    return sentences


def _widened(results: StudyResults) -> list[str]:
    count = sum(str(name).startswith("widened.") for name in results.attributes)
    if not count:
        return []
    return [
        "Grids of learning rates were widened after a first verdict, so that levels at an edge "
        "had more rates to choose from: the verdict is exploratory."
    ]


def _equal_levels(results: StudyResults, comparison: PairwiseComparison | None) -> list[str]:
    if comparison is None:
        return []
    sentences: list[str] = []
    unmeasured: list[str] = []
    alike: dict[int, list[str]] = {}
    for factor in FACTORS:
        table = ablation_table(results, factor)
        if len(table) < 2:
            unmeasured.append(_NAMES[factor])
        elif not (table["p_holm"] < _LEVEL).any():
            alike.setdefault(int(table["seeds"].min()), []).append(_NAMES[factor])
    if unmeasured:
        effects = "The effect of {} was" if len(unmeasured) == 1 else "The effects of {} were"
        sentences.append(effects.format(_and(unmeasured)) + " not measured.")
    for seeds, factors in alike.items():
        names, size = _and(factors, "or"), f"{seeds} seed{'s' if seeds != 1 else ''} per level"
        sentences.append(
            f"No level of {names} differs significantly from the reference ({size}); absence of "
            "evidence is not equality."
        )
    return sentences


def _interactions(results: StudyResults) -> list[str]:
    cells = results.attributes.get("cells") or ()
    pairs = sorted({str(cell["factor"]) for cell in cells if "@" in str(cell["factor"])})
    if not cells:
        return []
    but = f" but {_and(pairs)}" if pairs else ""
    return [f"Factors were varied one at a time: no interaction{but} was tested."]


def _packed(results: StudyResults) -> list[str]:
    if not (results.costs["pack"] > 1).any():
        return []
    return [
        "Adapters that were trained together share the time of their steps by their tokens: their "
        "training times are not those of trials that run alone."
    ]


def _leaked(results: StudyResults) -> list[str]:
    leaks = results.provenance.get("leaks") or {}
    if not leaks:
        return []
    counts = _and([f"{count} of {split}" for split, count in leaks.items()])
    return [
        f"Scores are inflated: some inputs also occur in another split ({counts}), which the "
        "sweep allows."
    ]


def _dropped(results: StudyResults) -> list[str]:
    return [f"Left out: {line}." for line in results.attributes.get("dropped") or ()]


def _scope(results: StudyResults) -> str:
    model = (results.sweep.get("model") or {}).get("name", "this model")
    task = results.sweep.get("task", "this task")
    limit = (results.sweep.get("data") or {}).get("limit")
    few = f"{task} (here at most {limit:,} rows of each split)" if limit else task
    return f"Another base model than {model} or other data than {few} may need other settings."


def _and(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
