"""Seed noise: one configuration trained with several seeds, its test score's mean and deviation.

    python benchmarks/noise.py --seeds 4 --set training.epochs=2 lora,16,4,qv,6.7e-3,0.05 ...

A configuration is variant, rank, alpha as a multiple of the rank, target modules, learning rate
and dropout. Meant for choosing a task's size and a sweep's training length *before* any study;
the test split's scores are not to be used for choosing between configurations.
"""

import argparse
import time
from statistics import mean, stdev

from harness.config import sweep
from harness.models import base_model
from harness.tasks.task import load_task_for
from harness.training.sequential import SequentialTrainer
from harness.trial import TrialConfig, TrialRequest


def configuration(text: str) -> TrialConfig:
    """Reads `variant,rank,alpha_ratio,target_modules,learning_rate,dropout`; the seed is 0."""
    variant, rank, ratio, targets, rate, dropout = text.split(",")
    alpha = float(ratio) * int(rank)
    return TrialConfig(variant, int(rank), alpha, float(dropout), targets, float(rate), 0)


def main() -> None:
    """Prints a line for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("configurations", nargs="+", type=configuration)
    parser.add_argument("--sweep", default="ner_medical")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    loaded = sweep.load_sweep(given.sweep, given.set)
    task = load_task_for(loaded)
    trainer = SequentialTrainer(base_model.load(loaded.model, 1), task, loaded.training)
    for config in given.configurations:
        start = time.monotonic()
        requests = (
            TrialRequest(seed, config.with_(seed=seed), splits=("test",))
            for seed in range(given.seeds)
        )
        found = list(trainer.train(requests, lambda _number, _reading: True))
        name = task.objective.name
        values = [result.scores["test"].values[name] for result in found if result.scores]
        seconds = (time.monotonic() - start) / given.seeds
        spread = stdev(values) if len(values) > 1 else float("nan")
        average = mean(values) if values else float("nan")
        print(
            f"{config.variant} r={config.rank} {config.target_modules} alpha={config.alpha:g} "
            f"lr={config.learning_rate:g} dropout={config.dropout:g}: {name} {average:.3f}, "
            f"sd {spread:.3f} over {len(values)} of {given.seeds} seeds, {seconds:.0f} s each",
            flush=True,
        )


if __name__ == "__main__":
    main()
