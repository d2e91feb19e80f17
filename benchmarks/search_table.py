"""Records the table that searches are replayed on: every training of a declared grid, run once.

    python -m benchmarks.search_table            # half an hour on two cores; goes on where stopped

Trainings are the default sweep's, by its engine, one seed, with a reading at each of its rungs
and the statistics of each validation example at the end. The table is kept compressed beside this
file.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.trials_report import machine

#: The table that is kept with the project.
TABLE: Final = Path(__file__).parent / "search_table.json.gz"
#: What is in the grid: four variants of one cost, and rates a factor of three apart.
GRID: Final[dict[str, tuple[Any, ...]]] = {
    "variant": ("lora", "rslora", "lora_plus"),
    "rank": (2, 8, 32),
    "alpha_ratio": (0.5, 2.0),
    "target_modules": ("qv", "attention", "all_linear"),
    "learning_rate": (6e-4, 1.8e-3, 5.4e-3, 1.62e-2),
}
_SEED: Final = 0
_SWEEP: Final = "ner_medical"


def points() -> list[dict[str, Any]]:
    """All points of the grid; each quarter of the list is spread over all of it."""
    rows = [dict(zip(GRID, levels, strict=True)) for levels in itertools.product(*GRID.values())]
    return [row for part in range(4) for row in rows[part::4]]


def record(asked: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    """Trains points one after the other.

    Args:
        asked: of the grid.

    Yields:
        A row for each: the point, state, readings, final value, statistics, seconds and tokens.
    """
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
    for point in asked:
        config = TrialConfig(
            variant=point["variant"],
            rank=point["rank"],
            alpha=point["alpha_ratio"] * point["rank"],
            dropout=0.0,
            target_modules=point["target_modules"],
            learning_rate=point["learning_rate"],
            seed=_SEED,
        )
        request = TrialRequest(0, config, ("validation",), readings=True)
        (result,) = trainer.train(iter([request]), lambda *_: True)
        scores = result.scores.get("validation")
        kept = None
        if scores is not None:
            kept = [[int(x) for x in row] for row in scores.statistics]
        yield {
            **point,
            "state": result.outcome.value,
            "value": None if scores is None else scores.values[task.objective.name],
            "readings": [
                [each.step, each.value] for each in result.measurements if each.value is not None
            ],
            "statistics": kept,
            "train_seconds": round(result.cost.train_seconds, 3),
            "score_seconds": round(result.cost.score_seconds, 3),
            "tokens": result.cost.tokens,
            "parameters": result.cost.parameters,
        }


def _work(asked: list[dict[str, Any]], out: str) -> None:
    with Path(out).open("a", encoding="utf-8") as file:
        for row in record(tuple(asked)):
            file.write(json.dumps(row) + "\n")
            file.flush()


def name_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells a point from the others."""
    return tuple(row[factor] for factor in GRID)


def read(path: Path = TABLE) -> dict[str, Any]:
    """The table: `machine`, `objective`, `steps`, `command` and `rows`."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Keeps the rows, in the order of the grid, with all that is needed to read them alone."""
    from dataclasses import asdict

    from harness.config import sweep
    from harness.tasks.task import load_task_for
    from harness.training.loop import step_count

    settings = sweep.load_sweep(_SWEEP)
    task = load_task_for(settings)
    order = {name_of(point): place for place, point in enumerate(points())}
    body = {
        "machine": machine(),
        "command": "python -m benchmarks.search_table",
        "objective": asdict(task.objective),
        "steps": step_count(settings.training, len(task.examples("train")), 1.0),
        "rows": sorted(rows, key=lambda row: order[name_of(row)]),
    }
    # Without a time in its head, equal tables are equal files.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(json.dumps(body).encode())


def main() -> None:
    """Trains what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=int, help="only so many points, evenly spread")
    parser.add_argument("--parts", type=Path, default=Path("search_table.parts"))
    parser.add_argument("--out", type=Path, default=TABLE)
    given = parser.parse_args()
    given.parts.mkdir(exist_ok=True)
    files = [given.parts / f"{index}.jsonl" for index in range(given.workers)]

    def there() -> list[dict[str, Any]]:
        known = sorted(given.parts.glob("*.jsonl"))
        lines = [line for file in known for line in file.read_text(encoding="utf-8").splitlines()]
        return list({name_of(row): row for row in map(json.loads, lines)}.values())

    done = {name_of(row) for row in there()}
    missing = [point for point in points()[: given.limit] if name_of(point) not in done]
    print(f"{len(done)} trainings are there, {len(missing)} to do", flush=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=_work, args=(missing[index :: given.workers], str(file)))
        for index, file in enumerate(files)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise SystemExit("a worker failed; the same command goes on from what is there")
    write(there(), given.out)
    print(f"{len(there())} trainings in {given.out}")


if __name__ == "__main__":
    main()
