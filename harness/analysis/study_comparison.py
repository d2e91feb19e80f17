"""Several studies side by side: factor levels of each, and picks on the same test examples.

Scores of different tasks, metrics or base models are never averaged. Only two studies of one task
and one metric are compared, on the test examples that both were scored on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy.special import ndtri

from harness.analysis.ablation import COLUMNS, FACTORS, ablation_table, all_cells, cells_of, subset
from harness.analysis.bootstrap import (
    RESAMPLES,
    SEED,
    Value,
    example_weights,
    influence,
    resampled_scores,
    residual_variance,
    scores,
)
from harness.analysis.claims import CLAIMS, Claim
from harness.analysis.estimates import CONFIDENCE, Interval, finite
from harness.analysis.multiple_comparisons import against_best, all_pairs_bounds
from harness.analysis.scores import cached_per_study, metric_function, score_array
from harness.analysis.verdict import inferior

if TYPE_CHECKING:
    from harness.aggregates import Array
    from harness.results import StudyResults

STANDINGS: Final = ("within", "undecided", "worse")
LEVELS: Final = (*COLUMNS, "difference_to_best", "lower", "upper", "standing")
VOTES: Final = ("level", *STANDINGS)
#: Settings whose effect a pair of studies of one task shows, with their names for people.
SUBJECTS: Final = {
    "model.name": "base model",
    "model.quantization": "quantisation",
    "training.epochs": "epochs",
    "training.steps": "steps",
}
#: Settings that change the speed, not the result.
_HARMLESS: Final = {"training.micro_batch_size", "training.score_batch_size"}
#: By dotted path, the values of two studies.
Settings: TypeAlias = Mapping[str, tuple[Any, Any]]


@cached_per_study
def factor_levels(results: StudyResults) -> dict[str, pd.DataFrame]:
    """The levels of each ablated factor with two levels or more, compared with the best one.

    Returns:
        `LEVELS` by factor, one row a level. `difference_to_best` is to the best of the others, in
        the metric's own direction, `lower` and `upper` its joint bounds over the factor's levels
        (Hsu 1984); `standing` is `within` (shown to be no worse than the best by more than the
        margin), `worse` (shown to be worse than another by more than it) or `undecided`. Pairs
        such as `rank@target_modules=qv` are left out.
    """
    planned = [str(cell["factor"]) for cell in results.attributes.get("cells") or ()]
    names = [name for name in dict.fromkeys([*FACTORS, *planned]) if "@" not in name]
    names = [name for name in names if len(cells_of(results, name)) > 1]
    comparison = all_cells(results) if names else None
    if comparison is None:
        return {}
    objective, tables = results.objective, {}
    for name in names:
        frame = ablation_table(results, name)
        if len(frame) < 2:
            continue
        pairs = subset(comparison, tuple(frame["key"]))
        bounds = against_best(pairs, CONFIDENCE)
        worse = inferior(all_pairs_bounds(pairs, CONFIDENCE).high, objective.margin)
        merit = objective.sign * frame["value"].to_numpy(dtype=float)
        others = np.where(np.eye(len(frame), dtype=bool), -np.inf, merit[None, :])
        gap = pairs.difference[np.arange(len(frame)), others.argmax(axis=1)]
        ends = np.sort(objective.sign * np.array([bounds.low, bounds.high]), axis=0)
        frame = frame.assign(
            difference_to_best=objective.sign * gap,
            lower=finite(ends[0]) + 0.0,
            upper=finite(ends[1]) + 0.0,
            standing=np.where(frame["near_best"], "within", np.where(worse, "worse", "undecided")),
        )
        tables[name] = frame[list(LEVELS)]
    return tables


def shared_factors(studies: Sequence[StudyResults]) -> tuple[str, ...]:
    """Factors that two or more of the studies have levels of, in the order of `FACTORS`."""
    names = [name for results in studies for name in factor_levels(results)]
    order = dict.fromkeys([*FACTORS, *names])
    return tuple(name for name in order if names.count(name) > 1)


def best_level_votes(studies: Sequence[StudyResults], factor: str) -> pd.DataFrame:
    """In how many studies each level of a factor is within the margin, undecided or worse.

    Returns:
        `VOTES`, one row a level, smallest first; a study without the level has no vote on it.
    """
    counts: dict[Any, dict[str, int]] = {}
    for results in studies:
        frame = factor_levels(results).get(factor, pd.DataFrame(columns=list(LEVELS)))
        for level, standing in zip(frame["level"], frame["standing"], strict=True):
            counts.setdefault(comparable_level(level), dict.fromkeys(STANDINGS, 0))[standing] += 1
    order = sorted(counts) if all(isinstance(level, float) for level in counts) else list(counts)
    rows = [{"level": level, **counts[level]} for level in order]
    return pd.DataFrame(rows, columns=list(VOTES))


def comparable_level(level: Any) -> float | str:
    """A level that compares equal in all studies: one has 1, another one 1.0."""
    numeric = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    return float(level) if numeric else str(level)


def unpaired_seeds_difference(
    ours: Array,
    theirs: Array,
    value: Value,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """The difference of two configurations' scores: examples paired, training seeds not.

    As `bootstrap.contrasts`, but each side has a variance over seeds and a Student's t of its own
    (Behrens and Fisher); the examples' part is that of the difference, example by example. Where
    seeds of the two studies are correlated, the interval is too wide, not too narrow.

    Statistics `ours` (S_A, E, W) and `theirs` (S_B, E, W) are of the same examples, nothing
    missing; `value` maps sums (..., W) to the metric (...).

    Returns:
        Ours less theirs; without bounds where a side has one seed, or there is one example.
    """
    sides = [side[None] for side in (ours, theirs)]
    tables = [scores(side, value)[0] for side in sides]
    estimate, examples = float(tables[0].mean() - tables[1].mean()), ours.shape[1]
    if min(map(len, tables)) < 2 or examples < 2:
        return Interval(estimate, math.nan, math.nan)
    weights, rng = example_weights(examples, resamples, seed), np.random.default_rng(seed + 1)
    influences = [influence(side, value)[0] for side in sides]
    fixed = float((influences[0].mean(axis=0) - influences[1].mean(axis=0)).var(ddof=1)) / examples
    # The variances over seeds already hold the residual part (Owen 2007), so it is subtracted.
    residual = sum(residual_variance(table) / table.size for table in influences)
    example_part = max(0.0, fixed - residual)
    resampled = [resampled_scores(side, value, weights)[0].mean(axis=0) for side in sides]
    shift = resampled[0] - resampled[1] - estimate
    scale = shift.std() * np.sqrt(rng.chisquare(examples - 1, resamples) / (examples - 1))
    errors = np.divide(shift, scale, out=np.zeros(resamples), where=scale > 0)
    errors *= math.sqrt(example_part)
    for table in tables:
        error = math.sqrt(table.var(ddof=1) / len(table))
        errors += error * rng.standard_t(len(table) - 1, resamples)
    # Never narrower than with the adapters fixed, as in `bootstrap.contrasts`.
    minimum = float(ndtri((1 + confidence) / 2)) * math.sqrt(fixed)
    reach = max(minimum, float(np.quantile(np.abs(errors), confidence)))
    return Interval(estimate, estimate - reach, estimate + reach)


class Pair(NamedTuple):
    """Picks of two studies of one task and metric, on the test examples that both were scored on.

    Attributes:
        first: name of a study: of a base in 4 bits or of longer training, if only one is such.
        second: name of the other one.
        subjects: settings of `SUBJECTS` in which they differ, with the values of both.
        others: other settings of base and training in which they differ.
        difference: first less second, in the metric's own direction.
        low: lower bound; the bounds of all pairs hold together (Bonferroni).
        high: upper bound.
        seeds_first: seeds of the first one's pick.
        seeds_second: of the second one's.
        examples: test examples.
        claim: name of the claim that the difference bears on, empty if on none.
        verdict: what it says of the claim; empty if it is no test of it.
        obstacle: why there is no difference, in words; empty if there is one.
    """

    first: str
    second: str
    subjects: Settings
    others: Settings
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds_first: int = 0
    seeds_second: int = 0
    examples: int = 0
    claim: str = ""
    verdict: str = ""
    obstacle: str = ""


def compare_picks(studies: Sequence[StudyResults], keys: Mapping[str, str]) -> list[Pair]:
    """All pairs of studies whose picks can be compared.

    Their task and metric are the same; base model, quantisation or length of training are not.

    Args:
        studies: of different names.
        keys: by study, the configuration of the confirm stage that stands for it.
    """
    pairs = [_ordered(*pair) for pair in itertools.combinations(studies, 2) if _related(*pair)]
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(pairs))
    return [_pair(first, second, keys, confidence) for first, second in pairs]


def _pair(
    first: StudyResults, second: StudyResults, keys: Mapping[str, str], confidence: float
) -> Pair:
    subjects, others = _setting_differences(first, second)
    claim, clean = _related_claim(subjects, others)
    pair = Pair(first.name, second.name, subjects, others, claim=claim.name if claim else "")
    arrays = []
    for study in (first, second):
        try:
            arrays.append(score_array(study, "confirm", "test", (keys[study.name],)))
        except (KeyError, ValueError):
            return pair._replace(obstacle=f"{study.name} has no configuration scored on test")
    digests = {study.provenance.get("task_digest") for study in (first, second)} - {None}
    if arrays[0].examples != arrays[1].examples:
        return pair._replace(obstacle="the ids of their test examples are not the same")
    if len(digests) > 1:
        return pair._replace(obstacle="the task changed, so equal ids may be other examples")
    ours, theirs = (array.statistics[0] for array in arrays)
    value = metric_function(first.objective)
    interval = unpaired_seeds_difference(ours, theirs, value, confidence)
    sign, margin = first.objective.sign, min(first.objective.margin, second.objective.margin)
    ends = sorted((sign * interval.low, sign * interval.high))
    tests_claim = clean and margin > 0
    return pair._replace(
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        seeds_first=len(arrays[0].seeds),
        seeds_second=len(arrays[1].seeds),
        examples=len(arrays[0].examples),
        verdict=claim.verdict(ends[0] / margin, ends[1] / margin) if claim and tests_claim else "",
    )


def _related(first: StudyResults, second: StudyResults) -> bool:
    ours, theirs = first.objective, second.objective
    fields = ("name", "direction", "form", "classes")
    if any(getattr(ours, name) != getattr(theirs, name) for name in fields):
        return False
    same_task = first.sweep.get("task") == second.sweep.get("task")
    return same_task and bool(_setting_differences(first, second)[0])


def _setting_differences(first: StudyResults, second: StudyResults) -> tuple[Settings, Settings]:
    """Settings that differ, with both values: those of `SUBJECTS`, and the others."""
    ours, theirs = _settings(first), _settings(second)
    # An older study lacks a setting that is now off by default.
    values = {name: (ours.get(name) or None, theirs.get(name) or None) for name in ours | theirs}
    different = {
        name: pair for name, pair in values.items() if name not in _HARMLESS and pair[0] != pair[1]
    }
    subjects = {name: different.pop(name) for name in SUBJECTS if name in different}
    return subjects, different


def _settings(results: StudyResults) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for section in ("model", "training"):
        part = results.sweep.get(section) or {}
        part = part if isinstance(part, Mapping) else {"name": part}
        settings |= {f"{section}.{name}": value for name, value in part.items()}
    return settings


def _related_claim(subjects: Settings, others: Settings) -> tuple[Claim | None, bool]:
    """The claim that a difference concerns, and whether it tests it: nothing else may differ."""
    claims = {claim.name: claim for claim in CLAIMS}
    only_difference = len(subjects) == 1 and not others
    if set(subjects.get("model.quantization", ())) == {"nf4", "none"}:
        return claims["qlora_free"], only_difference
    epochs = subjects.get("training.epochs", (None,))
    if None not in epochs:
        return claims["three_epochs"], only_difference and min(map(float, epochs)) == 3
    return None, False


def _ordered(first: StudyResults, second: StudyResults) -> tuple[StudyResults, StudyResults]:
    """The two as claims take them: 4 bits less a plain base, longer training less shorter."""
    settings = [_settings(study) for study in (first, second)]
    is_4bit = [values.get("model.quantization") == "nf4" for values in settings]
    lengths = [float(values.get("training.epochs") or 0) for values in settings]
    swap = is_4bit[1] if is_4bit[0] != is_4bit[1] else lengths[1] > lengths[0]
    return (second, first) if swap else (first, second)
