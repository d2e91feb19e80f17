"""Whether the packed engine, and a bfloat16 base, come to the scores of one adapter on float32.

    python -m benchmarks.equality engines [--runs 10] [--first 0] [--slots 4] [--out FILE]
    python -m benchmarks.equality precision [--runs 5] [--out FILE]

Each run is one configuration and seed, trained in full on the sweep's task and scored on its whole
test split, once in each of two ways: by the sequential engine and the packed one among neighbours
(`engines`), or on a float32 base and a bfloat16 one by the engine that a study would choose here
(`precision`). Seed, first weights and data order are alike; what dropout and rounding change is
what is measured. Told is the mean of the paired differences with Student's interval.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final, Self

import torch
from scipy.stats import t as student

from benchmarks.trials_report import machine
from harness.config import sweep
from harness.config.settings import EngineSettings
from harness.config.sweep import Sweep
from harness.models import base_model
from harness.tasks.task import load_task_for
from harness.training.packed.selection import choose_engine
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.training.trainer import Trainer
from harness.trial import TrialConfig, TrialRequest

#: Run after run: variants, ranks, targets and dropout that differ, with rates that suit them.
_CONFIGS: Final = (
    TrialConfig("lora", 16, 32.0, 0.05, "all_linear", 4e-3, 0),
    TrialConfig("dora", 8, 16.0, 0.1, "all_linear", 8e-3, 0),
    TrialConfig("lora", 8, 32.0, 0.0, "qv", 6.7e-3, 0),
    TrialConfig("rslora", 32, 32.0, 0.05, "mlp", 2.7e-3, 0),
    TrialConfig("lora_plus", 16, 32.0, 0.0, "attention", 2e-3, 0),
)
#: The two ways of each comparison; differences are the second less the first.
WAYS: Final = {
    "engines": ("sequential", "packed"),
    "precision": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class Difference:
    """Paired differences of one figure.

    Attributes:
        mean: of them.
        low: lower end of the interval for their expectation.
        high: its upper end.
        largest: the largest of them, without sign.
    """

    mean: float
    low: float
    high: float
    largest: float

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Self:
        """Second less first, run by run, with Student's interval (Student 1908).

        Args:
            first: of at least two runs.
            second: of the same runs.
            level: coverage of the interval.
        """
        apart = [two - one for one, two in zip(first, second, strict=True)]
        middle, count = mean(apart), len(apart)
        half = float(student.ppf((1 + level) / 2, count - 1)) * stdev(apart) / count**0.5
        return cls(middle, middle - half, middle + half, max(map(abs, apart)))


def configurations(runs: int, first: int = 0) -> list[TrialConfig]:
    """So many runs: the configurations in turn, each run with a seed of its own."""
    return [
        _CONFIGS[seed % len(_CONFIGS)].replace(seed=seed) for seed in range(first, first + runs)
    ]


def trainer_of(way: str, loaded: Sweep, slots: int) -> Trainer:
    """The engine that is one of the ways.

    Args:
        way: of `WAYS`.
        loaded: the sweep; its dtype counts for the engines.
        slots: of the packed engine.
    """
    model = loaded.model
    if way in WAYS["precision"]:
        model = model.model_copy(update={"dtype": way})
    base, task = base_model.load(model, 1), load_task_for(loaded)
    if way == "sequential":
        return SequentialTrainer(base, task, loaded.training)
    if way == "packed":
        return PackedTrainer(base, task, loaded.training, slots)
    chosen = choose_engine(base, task, loaded.training, EngineSettings())
    if chosen.kind == "sequential":
        return SequentialTrainer(base, task, loaded.training)
    return PackedTrainer(base, task, loaded.training, chosen.slots)


def measured(trainer: Trainer, configs: Sequence[TrialConfig]) -> list[dict[str, Any]]:
    """Last training loss, test score and seconds of each run, in their order.

    Raises:
        SystemExit: if one of them ended without a score.
    """
    requests = [TrialRequest(run, each, ("test",)) for run, each in enumerate(configs)]
    results = {one.number: one for one in trainer.train(iter(requests), lambda *_: True)}
    found = []
    for request in requests:
        result = results[request.number]
        if not result.scores:
            raise SystemExit(f"run {request.number} ended without a score: {result.error}")
        values = result.scores["test"].values
        loss, seconds = result.measurements[-1].loss, result.cost.train_seconds
        found.append({"score": next(iter(values.values())), "loss": loss, "train": seconds})
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """A block for LOG.md."""
    first, second = found["ways"]
    runs = found["runs"]
    lines = [
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        "",
        f"| configuration | seed | {first}: {found['metric']} | {second} | loss | loss |",
        "|---|---|---|---|---|---|",
    ]
    for name, seed, one, other in zip(
        found["configurations"], found["seeds"], runs[first], runs[second], strict=True
    ):
        scores = f"{one['score']:.4f} | {other['score']:.4f}"
        lines.append(f"| {name} | {seed} | {scores} | {one['loss']:.4f} | {other['loss']:.4f} |")
    for figure, each in found["differences"].items():
        lines.append(
            f"\n{second} less {first}, {figure}: mean {each['mean']:+.4f}, 95 % interval "
            f"{each['low']:+.4f} to {each['high']:+.4f}, largest {each['largest']:.4f}."
        )
    return "\n".join(lines)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; the number of runs is filled in."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("comparison", choices=sorted(WAYS))
    parser.add_argument("--runs", type=int, help="by default 10 for engines, 5 for precision")
    parser.add_argument("--first", type=int, default=0, help="seed of the first run")
    parser.add_argument("--slots", type=int, default=4, help="of the packed engine")
    parser.add_argument("--sweep", default="ner_medical")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args(words)
    given.runs = given.runs or (10 if given.comparison == "engines" else 5)
    if given.runs < 2:
        parser.error("--runs: an interval needs at least 2")
    return given


def compared(given: argparse.Namespace) -> dict[str, Any]:
    """All figures of a comparison."""
    loaded = sweep.load_sweep(given.sweep, given.set)
    configs, ways = configurations(given.runs, given.first), WAYS[given.comparison]
    by_way = {way: measured(trainer_of(way, loaded, given.slots), configs) for way in ways}
    differences = {}
    for figure in ("score", "loss"):
        first, second = ([each[figure] for each in by_way[way]] for way in ways)
        differences[figure] = vars(Difference.of(first, second))
    names = [
        f"{one.variant} r={one.rank} {one.target_modules} dropout {one.dropout:g}"
        for one in configs
    ]
    return {
        "machine": machine(),
        "ways": ways,
        "metric": load_task_for(loaded).objective.name,
        "configurations": names,
        "seeds": [one.seed for one in configs],
        "runs": by_way,
        "differences": differences,
    }


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    given = arguments()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(1)
    found = compared(given)
    print(markdown(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
