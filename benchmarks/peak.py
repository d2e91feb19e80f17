"""GFLOP/s of a training step against plain products on the same core, and where the rest goes.

    python -m benchmarks.peak [--model FOLDER] [--dtypes float32,bfloat16] [--engine sequential]

A step is run once to note its matrix products: those of the base forwards and backwards (to its
inputs; its weights are frozen), of adapters, output head and attention. Then the step and the very
same list of products, back to back as plain `torch.mm`, take turns; the ratio is of neighbours,
and their median is told: the share of the products' own speed that a whole step comes to. Each
batch has the same rows. Last, torch's profiler says what kinds of operations take the time.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from transformers.utils import logging

from benchmarks.fewer import fewer
from benchmarks.products import Ceiling, Product, operations, recorded
from benchmarks.profiled import table
from benchmarks.stepping import PackedSteps, SequentialSteps, Steps
from benchmarks.trials_report import machine
from harness.config import sweep
from harness.config.sweep import Sweep
from harness.models import base_model
from harness.tasks.task import load_task_for
from harness.trial import TrialConfig

_BUILTIN: Final = "builtin:tiny"
_WARM_UP: Final = 2


def timed(work: Callable[[], None], times: int) -> float:
    """Seconds of the processor for one of so many calls."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def measured(
    steps: Steps, products: Sequence[Product], repeats: int, times: int
) -> dict[str, Any]:
    """The step and its products in turns.

    Args:
        steps: warm.
        products: of one step.
        repeats: pairs of neighbours.
        times: calls in each.
    """
    ceiling = Ceiling(products)
    base = Ceiling([one for one in products if one.purpose.startswith("base")])
    ceiling(), base()
    pairs = []
    for _ in range(repeats):
        pairs.append((timed(steps.step, times), timed(ceiling, times), timed(base, times)))
    by_purpose = operations(products)
    whole = sum(by_purpose.values())
    own = by_purpose["base forward"] + by_purpose["base backward"]
    ratios = [ceiling_ / step for step, ceiling_, _ in pairs]
    return {
        "gflop": {name: count / 1e9 for name, count in by_purpose.items()},
        "products": len(products),
        "step_ms": 1e3 * median(step for step, _, _ in pairs),
        "products_ms": 1e3 * median(each for _, each, _ in pairs),
        "step_gflops": whole / 1e9 / median(step for step, _, _ in pairs),
        "peak_gflops": whole / 1e9 / median(each for _, each, _ in pairs),
        "base_peak_gflops": own / 1e9 / median(each for _, _, each in pairs),
        "ratio": [median(ratios), min(ratios), max(ratios)],
    }


def one_case(settings: Sweep, dtype: str, given: argparse.Namespace) -> dict[str, Any]:
    """One precision: products, both times, and the profile."""
    model = settings.model.model_copy(update={"dtype": dtype})
    training = settings.training
    base = base_model.load(model, 1)
    task = fewer(load_task_for(settings), "train", training.batch_size)
    configs = [
        TrialConfig("lora", given.rank, 2.0 * given.rank, given.dropout, given.targets, 1e-4, n)
        for n in range(given.slots if given.engine == "packed" else 1)
    ]
    steps: Steps
    if given.engine == "packed":
        steps = PackedSteps(base, task, training, configs)
    else:
        steps = SequentialSteps(base, task, training, configs[0])
    with closing(steps):
        for _ in range(_WARM_UP):
            steps.step()
        products = recorded(base.model, steps.step)
        found = measured(steps, products, given.repeats, given.steps)
        found["profile_ms"] = table(base.model, steps.step, given.steps)
    return found


def markdown(found: dict[str, Any]) -> str:
    """A block for LOG.md."""
    asked = found["asked"]
    lines = [
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        f"{asked['model']}, {asked['engine']}"
        + (f" with {asked['slots']} slots" if asked["engine"] == "packed" else "")
        + f", r={asked['rank']} {asked['targets']} dropout={asked['dropout']}, batches of "
        f"{asked['batch_size']}, {asked['repeats']} repeats of {asked['steps']} steps",
        "",
        "| dtype | GFLOP a step | of it base forward, backward, adapters, head, attention "
        "| step ms | GFLOP/s | products alone ms | GFLOP/s | base's alone GFLOP/s | step / peak |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for dtype, told in found["cases"].items():
        parts = ", ".join(f"{each:.2f}" for each in told["gflop"].values())
        middle, low, high = told["ratio"]
        lines.append(
            f"| {dtype} | {sum(told['gflop'].values()):.2f} | {parts} | {told['step_ms']:.1f} "
            f"| {told['step_gflops']:.1f} | {told['products_ms']:.1f} | {told['peak_gflops']:.1f} "
            f"| {told['base_peak_gflops']:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    kinds = list(next(iter(found["cases"].values()))["profile_ms"])
    lines += [
        "",
        "Milliseconds a step under torch's profiler, which makes it longer:",
        "",
        f"| dtype | {' | '.join(kinds)} | all |",
        "|---" * (len(kinds) + 2) + "|",
    ]
    for dtype, told in found["cases"].items():
        spent = told["profile_ms"]
        cells = " | ".join(f"{spent[kind]:.1f}" for kind in kinds)
        lines.append(f"| {dtype} | {cells} | {sum(spent.values()):.1f} |")
    return "\n".join(lines)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=_BUILTIN, help="a folder; otherwise the embedded base")
    parser.add_argument(
        "--dtypes", type=lambda text: text.split(","), default=["float32", "bfloat16"]
    )
    parser.add_argument("--engine", choices=("sequential", "packed"), default="sequential")
    parser.add_argument("--slots", type=int, default=2, help="adapters of the packed engine")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--targets", default="all_linear")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=4, help="examples a step of an adapter")
    parser.add_argument("--steps", type=int, help="in each repeat; 20, or 3 with --model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args(words)
    given.steps = given.steps or (20 if given.model == _BUILTIN else 3)
    return given


def run(given: argparse.Namespace) -> dict[str, Any]:
    """All precisions that are asked for."""
    settings = sweep.load_sweep(
        "ner_medical",
        [f"model.name={given.model}", f"training.batch_size={given.batch_size}"],
    )
    cases = {}
    for dtype in given.dtypes:
        cases[dtype] = one_case(settings, dtype, given)
        print(f"{dtype}: step / peak {cases[dtype]['ratio'][0]:.2f}", flush=True)
    asked = {**vars(given), "out": None, "model": Path(given.model).name}
    return {"machine": machine(), "asked": asked, "cases": cases}


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = arguments()
    torch.set_num_threads(1)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    found = run(given)
    print(markdown(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
