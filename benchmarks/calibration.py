"""Whether intervals and verdicts hold what they promise, on simulated studies of known truth.

    python -m benchmarks.calibration            # all parts, a quarter of an hour on two cores

Parts: coverage of 95 % intervals by metric and number of seeds, ours beside the plain bootstrap's
percentile and BCa; the rate of false differences where all levels are equal; wrong and decided
picks under the looks as planned; power by seeds and by examples; how often the model confidence
set holds the best; how often racing ends a trial that would have won, and what it saves.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.calibration_report import TITLES, Outcome, markdown, picks, rates
from benchmarks.hierarchical import bca, percentile, resampled
from benchmarks.simulated import OBJECTIVES, Noise, panel, truth
from benchmarks.trials_report import machine
from harness.aggregates import Array
from harness.analysis.bootstrap import contrasts
from harness.analysis.estimates import compare_all_pairs
from harness.analysis.multiple_comparisons import (
    Bounds,
    confidence_set,
    holm,
    intervals,
    joint_intervals,
    p_values,
)
from harness.analysis.scores import ScoreArray, metric_function
from harness.analysis.verdict import ConfirmState, Look, alpha_spending, apply_rule, next_look_keys
from harness.study.racing import error_to_spend, is_behind

_METRICS: Final = ("f1", "rouge", "perplexity")
_SEEDS: Final = (3, 5, 10)
_EXAMPLES: Final = {"f1": 600, "rouge": 300, "perplexity": 300}
_CONFIDENCE: Final = 0.95
_LOOKS: Final = (5, 10)
#: Parameters of the finalists: the first is the cheapest.
_COSTS: Final = np.array([1.0, 2.0, 4.0, 8.0])
#: What racing may spend by default, and how far behind trials are in truth, in margins.
_RACING: Final = 0.01
_GAPS: Final = (0.0, 1.0, 2.5, 5.0)
_MARGIN: Final = OBJECTIVES["f1"].margin
#: Scores of four finalists beside the best's, cheapest first, in margins.
DESIGNS: Final = {
    "all equal": (0.0, 0.0, 0.0, 0.0),
    "as ranks go": (-0.4, -0.15, -0.05, 0.0),
    "the cheapest is out": (-2.0, -0.3, -0.1, 0.0),
    "three on the edge": (-1.0, -1.0, -1.0, 0.0),
    "one on the edge": (-1.0, 0.0, 0.0, 0.0),
}


class Design(NamedTuple):
    """A confirm stage under its looks.

    Attributes:
        gaps: see `DESIGNS`.
        noise: of the seeds.
        looks: numbers of seeds.
        examples: of the test split.
    """

    gaps: tuple[float, ...]
    noise: Noise
    looks: tuple[int, ...]
    examples: int


def coverage(metric: str, seeds: int, draws: int, number: int) -> dict[str, list[bool]]:
    """Which intervals of one study hold the truth: of three scores, and of their differences."""
    rng = np.random.default_rng([1, _METRICS.index(metric), seeds, number])
    scores = np.array([0.90, 0.90, 0.85])
    found = panel(metric, scores, seeds, _EXAMPLES[metric], Noise(), rng)
    value = metric_function(OBJECTIVES[metric])
    expected = np.array([truth(metric, each) for each in scores])
    matrices = {"score": np.eye(3), "difference": np.array([[1.0, -1, 0], [1, 0, -1], [0, 1, -1]])}
    told: dict[str, list[bool]] = {}
    for kind, matrix in matrices.items():
        wanted = matrix @ expected
        plain = resampled(found.statistics, value, matrix, draws, seed=7 + number)
        ours = contrasts(found.statistics, value, matrix, draws, seed=7 + number)
        for name, bounds in (
            ("ours", intervals(ours, _CONFIDENCE)),
            ("percentile", percentile(plain, _CONFIDENCE)),
            ("bca", bca(plain, _CONFIDENCE)),
        ):
            told[f"{kind}, {name}"] = _within(bounds, wanted)
    return told


def _within(bounds: Bounds, wanted: Array) -> list[bool]:
    return [bool(each) for each in (bounds.low <= wanted) & (wanted <= bounds.high)]


def family(metric: str, seeds: int, draws: int, number: int) -> dict[str, list[bool]]:
    """Whether one of seven levels, all equal to the reference, is called different."""
    rng = np.random.default_rng([2, _METRICS.index(metric), seeds, number])
    found = panel(metric, np.full(8, 0.9), seeds, _EXAMPLES[metric], Noise(), rng)
    matrix = np.hstack([-np.ones((7, 1)), np.eye(7)])
    drawn = contrasts(
        found.statistics, metric_function(OBJECTIVES[metric]), matrix, draws, seed=7 + number
    )
    bounds, values = joint_intervals(drawn, _CONFIDENCE), p_values(drawn)
    return {
        "max-T": [bool(((bounds.low > 0) | (bounds.high < 0)).any())],
        "Holm": [bool((holm(values) < 1 - _CONFIDENCE).any())],
        "uncorrected": [bool((values < 1 - _CONFIDENCE).any())],
    }


def study(design: Design, draws: int, number: int) -> Outcome:
    """One confirm stage from its first look to its last, by the rule of the pick itself."""
    rng = np.random.default_rng([3, number])
    objective = OBJECTIVES["f1"]
    scores = 0.9 + _MARGIN * np.array(design.gaps)
    whole = panel("f1", scores, design.looks[-1], design.examples, design.noise, rng)
    keys = [*whole.keys]
    now: ConfirmState | None = None
    for look, alpha in zip(design.looks, alpha_spending(design.looks, 0.05), strict=True):
        statistics = whole.statistics.copy()
        for at, key in enumerate(whole.keys):
            reached = look if key in keys else _reached(now, key)
            statistics[at, reached:] = np.nan
        there = ScoreArray(whole.keys, whole.seeds[:look], whole.examples, statistics[:, :look])
        compared = compare_all_pairs(there, objective, draws)
        now = apply_rule(compared, _COSTS[: len(scores)], Look(look, look, alpha, 0.05), objective)
        keys = next_look_keys(now)
        if not keys:
            break
    assert now is not None
    wrong = now.pick is not None and bool(scores[now.pick] < scores.max() - _MARGIN * (1 - 1e-9))
    return Outcome(now.pick is not None, now.tie, wrong, now.look.seeds)


def _reached(before: ConfirmState | None, key: str) -> int:
    """Seeds of one that did not go on."""
    assert before is not None
    cube = before.comparison.array
    row = cube.statistics[cube.keys.index(key)]
    return int((~np.isnan(row).any(axis=(1, 2))).sum())


def best_in_set(seeds: int, draws: int, number: int) -> dict[str, list[bool]]:
    """Whether all that are best are in the model confidence set, and how many are in it."""
    rng = np.random.default_rng([4, seeds, number])
    scores = np.array([0.9, 0.9, 0.9, 0.895, 0.87])
    found = compare_all_pairs(
        panel("f1", scores, seeds, 600, Noise(), rng), OBJECTIVES["f1"], draws
    )
    inside = confidence_set(found.pairs, 1 - _CONFIDENCE).inside
    return {"holds all three best": [bool(inside[:3].all())], "worst is out": [not inside[4]]}


def raced(metric: str, gap: float, alpha: float, number: int) -> dict[str, list[float]]:
    """Ten trials one after the other against the best so far, four parts of 200 examples.

    Args:
        metric: of the objective.
        gap: how far behind the first one the others are in truth, in margins.
        alpha: error that racing may spend.
        number: seeds the study.
    """
    rng = np.random.default_rng([5, _METRICS.index(metric), number])
    objective = OBJECTIVES[metric]
    scale = 8.0 if metric == "perplexity" else 1.0
    scores = np.array([0.9, *[0.9 - gap * objective.margin / scale] * 9])
    found = panel(metric, scores, 1, 200, Noise(0.0), rng).statistics[:, 0]
    whole = [float(objective.value(each.sum(axis=0))) * objective.sign for each in found]
    best, wrong, ended, spared = 0, [], [], []
    for at in range(1, len(found)):
        stopped = 4
        for part in (1, 2, 3):
            rows = np.concatenate([np.arange(200)[first::4] for first in range(part)])
            error = error_to_spend((part - 1) / 4, part / 4, alpha)
            if is_behind(found[at][rows], found[best][rows], objective, error):
                stopped = part
                break
        ended.append(float(stopped < 4))
        spared.append(1 - stopped / 4)
        wrong.append(float(stopped < 4 and whole[at] > whole[best]))
        if stopped == 4 and whole[at] > whole[best]:
            best = at
    return {"would have won": wrong, "ended": ended, "examples spared": spared}


def many(work: Callable[..., Any], cases: Sequence[tuple[Any, ...]], studies: int) -> list[Any]:
    """Runs a simulation `studies` times for each case, on all cores; answers by case."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            [pool.submit(_block, work, case, part) for part in _parts(studies)] for case in cases
        ]
        return [[one for job in parts for one in job.result()] for parts in jobs]


def _parts(studies: int, size: int = 50) -> Iterator[range]:
    for first in range(0, studies, size):
        yield range(first, min(first + size, studies))


def _block(work: Callable[..., Any], case: tuple[Any, ...], numbers: range) -> list[Any]:
    return [work(*case, number) for number in numbers]


def run(given: argparse.Namespace) -> dict[str, Any]:
    """All parts that are asked for."""
    draws, studies = given.draws, given.studies
    told: dict[str, Any] = {"machine": machine(), "studies": studies, "draws": draws}
    grid = [(metric, seeds, draws) for metric in _METRICS for seeds in _SEEDS]
    for name, work in (("coverage", coverage), ("family", family)):
        if name in given.parts:
            found = many(work, grid, studies)
            told[name] = {
                f"{metric}, {seeds} seeds": rates(each)
                for (metric, seeds, _), each in zip(grid, found, strict=True)
            }
    if "pick" in given.parts:
        cases = [(Design(gaps, Noise(), _LOOKS, 600), draws) for gaps in DESIGNS.values()]
        found = many(study, cases, studies)
        told["pick"] = {name: picks(each) for name, each in zip(DESIGNS, found, strict=True)}
    if "power" in given.parts:
        told["power"] = _power(draws, max(100, studies // 4))
    if "racing" in given.parts:
        grid_ = [(m, gap, _RACING) for m in _METRICS for gap in _GAPS]
        found = many(raced, grid_, studies)
        told["racing"] = {
            f"{m}, {gap:g} margins behind": rates(each)
            for (m, gap, _), each in zip(grid_, found, strict=True)
        }
    if "set" in given.parts:
        found = many(best_in_set, [(seeds, draws) for seeds in _SEEDS], studies)
        told["set"] = {
            f"{seeds} seeds": rates(each) for seeds, each in zip(_SEEDS, found, strict=True)
        }
    return told


def _power(draws: int, studies: int) -> dict[str, Any]:
    """Picks of one look, by its seeds, by the examples and by the noise of the seeds."""
    gaps = DESIGNS["as ranks go"]
    cases = {
        f"{seeds} seeds, {examples} examples, noise {noise:g}": Design(
            gaps, Noise(noise), (seeds,), examples
        )
        for noise in (0.009, 0.018)
        for seeds in (3, 5, 10, 20)
        for examples in (200, 600)
    }
    found = many(study, [(design, draws) for design in cases.values()], studies)
    return {name: picks(each) for name, each in zip(cases, found, strict=True)}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies a line")
    parser.add_argument("--draws", type=int, default=1000, help="of each bootstrap")
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=[*TITLES], help=", ".join(TITLES)
    )
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    return parser.parse_args(words)


def main() -> None:
    """Simulates, prints, and writes what was asked for."""
    given = arguments()
    told = run(given)
    words = f"--studies {given.studies} --draws {given.draws} --parts {','.join(given.parts)}"
    print(markdown(told, f"python -m benchmarks.calibration {words}"))
    if given.out is not None:
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
