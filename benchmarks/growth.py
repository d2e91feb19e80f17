"""How time and memory grow: with slots, workers, threads, training examples, trials in a study.

    python -m benchmarks.growth [--parts slots,workers,threads,examples,trials,start] [--repeats 5]

    slots     1 to 32 adapters in one pack: the processor's seconds and the memory of a trial
    workers   1 to 4 processes on one study: trials an hour and their memory, shared pages once
    threads   two workers of one thread against one worker of two, in turns
    examples  100 to 10,000 training examples: reading, tokens, set-up, and a step
    trials    1 to 1,000 trials in the database: what everything around training takes
    start     `import harness` and `python -m harness --help`

Each is measured at rising sizes, and that several times in turns; told are medians, the exponent
of growth (the slope of log(value) over log(size)), that of the last two sizes, and whether both
keep within that of n log n. `python -m benchmarks.growth --help` names the sizes.
"""

import argparse
import gc
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from transformers.utils import logging

from benchmarks import growth_processes, growth_study, growth_training
from benchmarks.growth_fit import Curve, markdown
from benchmarks.trials_report import machine
from harness.config import sweep
from harness.models import base_model
from harness.study.session import Parallelism

_BUILTIN: Final = "builtin:tiny"
_CREWS: Final = {
    "two workers of one thread": Parallelism(2, 1),
    "one worker of two threads": Parallelism(1, 2),
}


def slots(given: argparse.Namespace) -> list[Curve]:
    """Packs."""
    found = growth_training.slot_curves()
    packs = growth_training.Slots(_settings(given), given.steps)
    for repeat in range(given.repeats):
        for count in sorted(given.slots):
            packs.measure(found, count, memory=repeat == 0)
    return list(found.values())


def workers(given: argparse.Namespace) -> list[Curve]:
    """Crews of one thread each."""
    found = growth_processes.curves()
    for _ in range(given.repeats):
        for count in sorted(given.workers):
            done = growth_processes.crewed(
                Parallelism(count, 1), given.crew_trials, given.steps, given.model
            )
            found["rate"].add(count, done.rate)
            found["memory"].add(count, done.memory / 2**30)
            found["starting"].add(count, done.starting)
    return list(found.values())


def threads(given: argparse.Namespace) -> list[Curve]:
    """Two ways to use two cores; the size is the number of workers."""
    rate = Curve("trials an hour with two threads in all", "trials", "workers")
    memory = Curve("memory of these workers", "GiB", "workers")
    for _ in range(given.repeats):
        pair = {}
        for name, crew in _CREWS.items():
            trials = 2 * given.crew_trials // crew.workers
            pair[name] = growth_processes.crewed(crew, trials, given.steps, given.model)
            rate.add(crew.workers, pair[name].rate)
            memory.add(crew.workers, pair[name].memory / 2**30)
    ratios = [a / b for a, b in zip(rate.readings[2], rate.readings[1], strict=True)]
    middle, low, high = median(ratios), min(ratios), max(ratios)
    print(f"{' against '.join(_CREWS)}: {middle:.2f} x trials an hour ({low:.2f} to {high:.2f})")
    return [rate, memory]


def examples(given: argparse.Namespace) -> list[Curve]:
    """Tasks of different sizes."""
    found = growth_training.example_curves()
    settings = _settings(given)
    base = base_model.load(settings.model, 1)
    for repeat in range(-1, given.repeats):  # the first round has caches to fill
        curves = growth_training.example_curves() if repeat < 0 else found
        for count in sorted(given.examples)[: 1 if repeat < 0 else None]:
            growth_training.measure_examples(curves, base, settings.training, count, given.steps)
    return list(found.values())


def trials(given: argparse.Namespace) -> list[Curve]:
    """Studies of different sizes."""
    found = growth_study.curves()
    for repeat in range(-1, given.repeats):
        curves = growth_study.curves() if repeat < 0 else found
        for count in sorted(given.trials)[: 1 if repeat < 0 else None]:
            growth_study.measure(curves, count)
    return list(found.values())


def start(given: argparse.Namespace) -> list[Curve]:
    """Processes that only begin."""
    found = {name: growth_processes.start_curve(name) for name in growth_processes.STARTS}
    for name in found:
        growth_processes.start_seconds(name)  # its files are in memory from now on
    for _ in range(given.repeats):
        for name, curve in found.items():
            curve.add(1, growth_processes.start_seconds(name))
    return list(found.values())


PARTS: Final[Mapping[str, Callable[[argparse.Namespace], list[Curve]]]] = {
    "slots": slots,
    "workers": workers,
    "threads": threads,
    "examples": examples,
    "trials": trials,
    "start": start,
}


def _settings(given: argparse.Namespace) -> sweep.Sweep:
    return sweep.load_sweep("ner_medical", [f"model.name={given.model}"])


def run(given: argparse.Namespace) -> dict[str, Any]:
    """All parts that are asked for."""
    found: dict[str, list[Curve]] = {}
    for name in given.parts:
        found[name] = PARTS[name](given)
        print(f"\n{name}\n\n{markdown(found[name])}", flush=True)
    return {
        "machine": machine(),
        "asked": {**vars(given), "out": None, "model": Path(given.model).name},
        "curves": {name: [curve.plain() for curve in each] for name, each in found.items()},
    }


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""

    def sizes(text: str) -> list[int]:
        return [int(each) for each in text.split(",")]

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--slots", type=sizes, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--workers", type=sizes, default=[1, 2, 3, 4])
    parser.add_argument("--examples", type=sizes, default=[100, 1000, 10_000])
    parser.add_argument("--trials", type=sizes, default=[1, 10, 100, 200, 500, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="of each trial")
    parser.add_argument("--crew-trials", type=int, default=8, help="for each worker")
    parser.add_argument("--model", default=_BUILTIN, help="a folder; otherwise the embedded base")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args(words)
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"--parts: {', '.join(sorted(unknown))}: known: {', '.join(PARTS)}")
    return given


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = arguments()
    torch.set_num_threads(1)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # What was imported is not gone through again each time that Python looks for garbage.
    gc.collect()
    gc.freeze()
    found = run(given)
    print("\n" + ", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
