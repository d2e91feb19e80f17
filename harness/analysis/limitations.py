"""What a study's evidence does not say, in plain sentences made from its rows.

What a study could not have seen: small differences, rare classes, what was never scored.
"""

from __future__ import annotations

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


#: A class with fewer mentions or examples in a split says little about itself.
RARE: Final = 30
#: More classes than these are counted, not named.
_NAMED: Final = 4
_COUNTS: Final = ("tp", "fp", "fn")


def blind_spots(results: StudyResults, now: ConfirmState | None) -> list[str]:
    """Sentences on differences, classes and baselines that the evidence says nothing of.

    Args:
        results: the study.
        now: what its confirm stage shows, or None.
    """
    return [
        *_detectable(results, now),
        *_rare(results),
        *_single_cells(results),
        *_without_baselines(results),
    ]


def detectable(now: ConfirmState) -> float:
    """The smallest difference of two finalists that this look finds in 80 % of studies.

    Of the pair with the median error, by the joint bounds of all pairs: (q + z_0.8) se, in the
    metric's own unit; infinite where nothing can be told.
    """
    count = len(now.scores)
    errors = now.whole.pairs.error[np.triu_indices(count, 1)]
    largest = np.abs(now.whole.pairs.draws).max(axis=(0, 1))
    quantile = float(np.quantile(largest, 1 - now.look.alpha))
    return float((quantile + ndtri(POWER)) * np.median(errors))


def _detectable(results: StudyResults, now: ConfirmState | None) -> list[str]:
    if now is None:
        return []
    size, scores = detectable(now), metric_format(results.objective)
    if not math.isfinite(size):
        return []
    return [
        f"Differences of less than about {scores.show(size)} {scores.unit} between two finalists "
        f"would be missed in a fifth of studies or more, with {now.look.seeds} seeds and "
        f"{len(now.whole.cube.examples)} examples."
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
        f"{named} {verb} fewer than {RARE} mentions in the {split} split: scores of such a class "
        "say little."
    ]


def _single_cells(results: StudyResults) -> list[str]:
    cells = complete(results, "ablate")
    alone = int((cells.groupby("key")["seed"].nunique() == 1).sum()) if len(cells) else 0
    if not alone:
        return []
    many = "cell of the ablation has" if alone == 1 else "cells of the ablation have"
    return [f"{alone} {many} one complete seed: nothing is known of the spread there."]


def _without_baselines(results: StudyResults) -> list[str]:
    if complete(results, STAGE).empty:
        return []
    said = []
    if not any(shots(name) is not None for name in baselines(results, SPLIT)):
        said.append(
            "The base without an adapter was not scored on the test split: what adapters gain is "
            "not known."
        )
    wanted = (results.sweep.get("baselines") or {}).get("full")
    if wanted and complete(results, "full").empty:
        said.append(
            "Full fine-tuning has no complete training: how near adapters come to it is not known."
        )
    return said


#: Below so many seeds a spread over seeds is known badly.
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


def not_supported(results: StudyResults, now: ConfirmState | None) -> tuple[str, ...]:
    """Sentences on what was not tested, not told apart, not finished or left out.

    Args:
        results: the study.
        now: what its confirm stage shows, or None.
    """
    whole = all_cells(results)
    sentences = [
        *_leaked(results),
        *_confirmed(results, now),
        *blind_spots(results, now),
        *_ranks(results),
        *_best_cell(results, whole),
        *_tuning(results),
        *_edges(results),
        *_widened(results),
        *_equal_levels(results, whole),
        *_interactions(results),
        *_packed(results),
        *_dropped(results),
        _scope(results),
    ]
    return tuple(dict.fromkeys(sentences))


def _confirmed(results: StudyResults, now: ConfirmState | None) -> list[str]:
    rows = results.trials[results.trials["stage"] == STAGE]
    if rows.empty and (results.sweep.get("search") or {}).get("trials") == 0:
        return ["Nothing was confirmed: scores are on the validation split, that learning rates "
                "were tuned on too, and the best of many looks better than it is."]  # fmt: skip
    if rows.empty:
        return ["Nothing was confirmed: search scores come from one seed and are flattered by "
                "having been chosen."]  # fmt: skip
    said = []
    look = current_look(results)
    if any(str(name).startswith("added.") for name in results.attributes):
        said.append(
            f"Seeds were added to the looks laid down beforehand ({look.seeds} now): the verdict "
            "is exploratory."
        )
    elif look.seeds < look.planned:
        said.append(
            f"The look at {look.planned} seeds is not complete ({look.seeds} so far): a verdict "
            "read before it has no error guarantee."
        )
    elif look.seeds > look.planned:
        said.append(
            f"{look.seeds} seeds are more than the {look.planned} laid down beforehand: the "
            "verdict is exploratory."
        )
    if look.seeds < FEW_SEEDS:
        many = f"{look.seeds} seeds" if look.seeds > 1 else "one seed"
        spread = f"is known from {many} only" if look.seeds else "is not known"
        said.append(f"The spread over training seeds {spread}.")
    table = configurations(results, STAGE)
    names = labels_of(table)
    for name, key, seeds in zip(names, table["key"], table["seeds"], strict=True):
        failed = int(((rows["key"] == key) & (rows["state"] == "failed")).sum())
        if failed:
            said.append(
                f"{failed} of {failed + seeds} trainings of {name} failed; its score speaks of "
                "the others only."
            )
        if seeds < 2:
            said.append(f"{name} was left out of the comparison: it has one complete seed.")
    lost = set(rows.loc[rows["state"] == "failed", "key"]) - set(table["key"])
    if lost:
        said.append(f"{len(lost)} finalists failed at every seed and were not compared.")
    return said + _open(now, table)


def _open(now: ConfirmState | None, table: pd.DataFrame) -> list[str]:
    if now is None or now.pick is None or not now.cheaper_and_open.any():
        return []
    keys = [k for k, o in zip(now.whole.cube.keys, now.cheaper_and_open, strict=True) if o]
    names = dict(zip(table["key"], labels_of(table), strict=True))
    return [
        f"Whether {_and([names[key] for key in keys])}, cheaper than the pick, would do as well "
        "is open: neither that nor the contrary is shown."
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
        return [f"Rank {missing[0]} was not confirmed: the verdict says nothing of it."]
    return [f"Ranks {_and(missing)} were not confirmed: the verdict says nothing of them."]


def _best_cell(results: StudyResults, whole: PairwiseComparison | None) -> list[str]:
    confirmed = set(configurations(results, STAGE)["key"])
    if whole is None or not confirmed:
        return []
    best = int(np.argmax(results.objective.sign * whole.values))
    if whole.cube.keys[best] in confirmed:
        return []
    table = configurations(results, "ablate")
    name = dict(zip(table["key"], labels_of(table), strict=True))[whole.cube.keys[best]]
    scores = metric_format(results.objective)
    return [
        f"The ablation's best cell, {name}, with {scores.show(whole.values[best])} {scores.unit} "
        f"on validation the {highest(results.objective)} of {len(whole.values)}, was not "
        "confirmed: the best finalist need not be the best there is."
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
        "rate, so a lower one may be better in full."
    ]


def _edges(results: StudyResults) -> list[str]:
    cells = [cell for cell in results.attributes.get("cells") or () if cell["key"] is not None]
    said = []
    for end, extreme in (("lowest", min), ("highest", max)):
        found = [
            f"{cell['factor']}={cell['level']} ({float(cell['rate']):.2g})"
            for cell in cells
            if at_edge(cell) and cell["rate"] == extreme(cell["rates"])
        ]
        if found:
            many = f"{len(found)} of {len(cells)} levels"
            where = _and(found) if len(found) <= FEW_NAMES else many
            said.append(
                f"The learning rate is the {end} of those tried, at the edge of the grid, "
                f"for {where}: one beyond it may be better (--extend-grid tries one more)."
            )
    return said


def _widened(results: StudyResults) -> list[str]:
    count = sum(str(name).startswith("widened.") for name in results.attributes)
    if not count:
        return []
    return [
        "Learning rates were widened after a first verdict, so that levels at an edge had more of "
        "them to choose from: the verdict is exploratory."
    ]


def _equal_levels(results: StudyResults, whole: PairwiseComparison | None) -> list[str]:
    if whole is None:
        return []
    said: list[str] = []
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
        said.append(effects.format(_and(unmeasured)) + " not measured.")
    for seeds, factors in alike.items():
        said.append(
            f"No level of {_and(factors, 'or')} could be told from the reference "
            f"({seeds} seed{'s' if seeds != 1 else ''} a level); that is not a proof of equality."
        )
    return said


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
        "training times are not those of lone trials."
    ]


def _leaked(results: StudyResults) -> list[str]:
    found = results.provenance.get("leaks") or {}
    if not found:
        return []
    told = _and([f"{count} of {split}" for split, count in found.items()])
    return [
        f"Scores are too good: inputs of another split were there too ({told}), which the sweep "
        "allows."
    ]


def _dropped(results: StudyResults) -> list[str]:
    return [f"Left out: {line}." for line in results.attributes.get("dropped") or ()]


def _scope(results: StudyResults) -> str:
    model = (results.sweep.get("model") or {}).get("name", "this model")
    task = results.sweep.get("task", "this task")
    limit = (results.sweep.get("data") or {}).get("limit")
    few = f"{task} (here at most {limit:,} rows of each split)" if limit else task
    return f"Another model than {model} and other data than {few} may want another choice."


def _and(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
