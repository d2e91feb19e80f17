"""Copies of one configuration, each with seeds of its own, really trained: is a difference found?

    python -m benchmarks.copies [--copies 8] [--seeds 10] [--out FILE]

There is none, so every difference that is called one is false; and all are within the margin, so
with enough seeds they are a tie. Each copy is judged as a finalist is, by the rule of the pick.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.trials_report import machine
from harness.analysis.bootstrap import scores
from harness.analysis.estimates import compare_all_pairs, variance_components
from harness.analysis.multiple_comparisons import holm, p_values
from harness.analysis.scores import ScoreArray, metric_function, reduce_statistics
from harness.analysis.verdict import Look, apply_rule
from harness.results import Objective

_SWEEP: Final = "ner_medical"
#: Variant, rank, alpha, dropout, targets and rate: one that trains quickly.
_CONFIG: Final = ("lora", 16, 32.0, 0.0, "qv", 6.7e-3)


def train(seeds: Sequence[int]) -> list[tuple[int, list[list[float]]]]:
    """Statistics of the test split for each seed, by the default sweep's engine."""
    import torch
    from transformers.utils import logging

    from harness.config import sweep
    from harness.models import base_model
    from harness.tasks.task import load_task_for
    from harness.training.packed.selection import make_trainer
    from harness.trial import TrialConfig, TrialRequest

    torch.set_num_threads(1)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    settings = sweep.load_sweep(_SWEEP)
    base, task = base_model.load(settings.model, 1), load_task_for(settings)
    trainer = make_trainer(base, task, settings.training, settings.engine, lambda _, value: value)
    requests = (TrialRequest(seed, TrialConfig(*_CONFIG, seed), ("test",)) for seed in seeds)
    return [
        (result.number, [list(row) for row in result.scores["test"].statistics])
        for result in trainer.train(requests, lambda *_: True)
    ]


def told(statistics: np.ndarray, objective: Objective) -> dict[str, Any]:
    """What is said of copies.

    Args:
        statistics: shape (copies, seeds, examples, columns of the objective).
        objective: of the task.
    """
    copies, seeds, examples = statistics.shape[:3]
    names = tuple(f"copy {index}" for index in range(copies))
    cube = ScoreArray(
        names,
        tuple(range(seeds)),
        tuple(map(str, range(examples))),
        reduce_statistics(statistics, objective),
    )
    whole = compare_all_pairs(cube, objective)
    now = apply_rule(whole, np.ones(copies), Look(seeds, seeds, 0.05, 0.05), objective)
    values = p_values(whole.contrasts)
    split = variance_components(cube, objective)
    table = scores(cube.statistics, metric_function(objective))
    return {
        "seeds": seeds,
        "means": [float(each) for each in table.mean(axis=1)],
        "seed sd": split.seed,
        "example sd": split.example,
        "configuration sd": split.configuration,
        "p equal spread": split.equal,
        "pairs": len(values),
        "p < 0.05, uncorrected": int((values < 0.05).sum()),
        "p < 0.05, Holm": int((holm(values) < 0.05).sum()),
        "joint bounds that exclude 0": int((now.joint_bounds.low > 0).sum()),
        "shown worse by more than the margin": int(now.worse.sum()),
        "shown not worse": int(now.non_inferior.sum()),
        "tie": now.tie,
        "widest joint bound": float(now.joint_bounds.high.max()),
    }


def main() -> None:
    """Trains, judges at 5 seeds and at all, prints, and writes what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    everything = list(range(given.copies * given.seeds))
    with multiprocessing.get_context("spawn").Pool(given.workers) as pool:
        parts = pool.map(train, [everything[at :: given.workers] for at in range(given.workers)])
    found = dict(row for part in parts for row in part)
    statistics = np.array([found[seed] for seed in everything], dtype=float)
    statistics = statistics.reshape(given.copies, given.seeds, *statistics.shape[1:])
    from harness.config import sweep
    from harness.tasks.task import load_task_for

    objective = load_task_for(sweep.load_sweep(_SWEEP)).objective
    looks = sorted({min(5, given.seeds), given.seeds})
    body = {
        "machine": machine(),
        "looks": [told(statistics[:, :seeds], objective) for seeds in looks],
    }
    print(json.dumps(body, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
