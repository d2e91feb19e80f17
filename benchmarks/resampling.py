"""How long 10,000 resamples of 40 configurations x 5 seeds x 1,000 examples take.

    python -m benchmarks.resampling [--configurations 40] [--seeds 5] [--examples 1000]

Scores of F1 over four classes are drawn; told are seconds of the processor and of the clock, for
intervals of each configuration, for all pairs with joint bounds, and for the plain hierarchical
bootstrap with percentile and BCa intervals; medians of `--repeats`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from benchmarks import hierarchical
from harness.analysis.bootstrap import RESAMPLES
from harness.analysis.estimates import compare_all_pairs, estimates_of
from harness.analysis.multiple_comparisons import all_pairs_bounds
from harness.analysis.scores import ScoreArray, metric_function
from harness.results import Objective

OBJECTIVE = Objective("entity_f1", "maximize", 0.02, "f1", ("A", "B", "C", "D"))


def drawn(configurations: int, seeds: int, examples: int, repeat: int) -> ScoreArray:
    """Counts of a study that never was: tp, fp, fn of all classes together."""
    rng = np.random.default_rng(repeat)
    gold = rng.poisson(3, size=examples)
    right = rng.binomial(gold, 0.9, size=(configurations, seeds, examples))
    wrong = rng.poisson(0.2, size=(configurations, seeds, examples))
    statistics = np.stack([right, wrong, gold - right], axis=-1).astype(float)
    names = tuple(f"c{number}" for number in range(configurations))
    ids = tuple(f"e{number}" for number in range(examples))
    return ScoreArray(names, tuple(range(seeds)), ids, statistics)


def told(name: str, work: Callable[[ScoreArray], object], cubes: Sequence[ScoreArray]) -> None:
    """Prints the medians of one piece of work; each cube is another, for answers are kept."""
    clocks = []
    for cube in cubes:
        wall, cpu = time.perf_counter(), time.process_time()
        work(cube)
        clocks.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = (median(each[place] for each in clocks) for place in (0, 1))
    print(f"{name}: {cpu:.2f} s of the processor, {wall:.2f} s by the clock", flush=True)


def plain(cube: ScoreArray) -> None:
    """Of each configuration, seeds and examples resampled both."""
    matrix = np.eye(len(cube.keys))
    found = hierarchical.resampled(cube.statistics, metric_function(OBJECTIVE), matrix)
    hierarchical.percentile(found, 0.95)
    hierarchical.bca(found, 0.95)


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--configurations", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    size = (given.configurations, given.seeds, given.examples)
    cubes = [drawn(*size, repeat) for repeat in range(given.repeats)]
    pairs = given.configurations * (given.configurations - 1) // 2
    print(f"{RESAMPLES:,} resamples, {size}, {pairs} pairs")
    told("intervals of each", lambda cube: estimates_of(cube, OBJECTIVE), cubes)
    told(
        "all pairs, joint",
        lambda cube: all_pairs_bounds(compare_all_pairs(cube, OBJECTIVE).pairs, 0.95),
        cubes,
    )
    told("plain, percentile and BCa", plain, cubes)


if __name__ == "__main__":
    main()
