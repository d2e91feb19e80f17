"""Time to a pick of equal quality: this project's sweep, a grid, and TPE with a median pruner.

    python -m benchmarks.time_to_pick [--study ner_medical] [--run] [--trials N] [--seeds 5] ...

    (i)    `python -m harness sweep ner_medical`: the seconds of a study, stage by stage, read from
           its database; `--run` runs it first
    (ii)   a full grid with the usual loop (`Trainer`, PEFT, padded, the base loaded for each
           trial, `generate` in batches of 8), and the small grid that people really run
    (iii)  Optuna's TPE and median pruner around the usual loop, each configuration once; and,
           for the same evidence as (i) has, the trials of (i) with the usual loop

Measured are whole trials of the usual loop and of this project's engine in turns, on a sample of
configurations. Multiplied is the rest: a grid costs its number of points times the price of a
trial; nobody ran it. (iii) is run, with scores from this project's engine, and charged for the
steps and examples of each trial at the usual loop's price. The processor's seconds of the usual
loop are held against the wall's of (i) times its workers, all that lies between its trials
included; so nothing is won by using more cores. What else ran beside the study makes it slower;
so it is charged, too, at the engine's prices of the sample.

What the picks of (i) and (iii), the search's incumbent and, for the grid, the best cell of the
study's ablation are worth is measured on the test split, trained anew with fresh seeds. A full
grid may hold something better than all of these; what it would have picked is not known.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import optuna
import torch
from transformers.utils import logging

from benchmarks import trials
from benchmarks.charging import Price, Prices, full_grid, same_trials, small_grid, stage_times
from benchmarks.rivals import Searched, compared, search, tested
from benchmarks.time_report import markdown, ratios
from benchmarks.trials_report import machine
from harness.analysis.estimates import estimates
from harness.analysis.recommendation import recommend
from harness.config import sweep
from harness.config.sweep import Sweep
from harness.models import base_model
from harness.results import StudyResults
from harness.storage.records import read_study
from harness.study.launcher import run_sweep
from harness.tasks.task import load_task_for
from harness.training.loop import step_count
from harness.training.sequential import SequentialTrainer
from harness.trial import TrialConfig

_OURS: Final = "pick of the sweep"


def sampled(given: argparse.Namespace, steps: int, examples: int) -> dict[str, list[Price]]:
    """Whole trials with the usual loop (`a`) and this project's engine (`c`), in turns."""
    found: dict[str, list[Price]] = {"a": [], "c": []}
    words = ["--loops", "a,c", "--repeats", "1", "--trials", str(given.sample)]
    asked = trials.arguments([*words, "--steps", str(steps), "--examples", str(examples)])
    bench = trials.Bench(asked)
    loops = {name: bench.loop(name) for name in found}
    for config in bench.configs:
        for name, prices in found.items():
            clock = bench.clocks[name]
            clock.spent = {}
            loops[name].trial(config)
            prices.append(Price(config.variant, steps, examples, clock.spent))
            print(f"{name} {config.label()}: {prices[-1].charge(steps, examples)}", flush=True)
    return found


def picks(results: StudyResults, searched: Searched) -> dict[str, TrialConfig]:
    """The configurations to compare, each once; ours comes first."""
    found: dict[str, TrialConfig] = {}
    recommended = recommend(results)
    row = recommended.pick or recommended.best
    if row is None:
        raise SystemExit("the study has nothing to recommend")
    found[_OURS] = TrialConfig.from_row(row)
    if searched.pick is not None:
        found["TPE's best trial"] = searched.pick
    if "incumbent" in results.attributes:
        found["incumbent of the sweep's search"] = TrialConfig.from_row(
            results.attributes["incumbent"]
        )
    cell = _best_cell(results)
    if cell is not None:
        found["best cell of the ablation, for a grid"] = cell
    return {name: config.replace(seed=0, budget=1.0) for name, config in found.items()}


def _best_cell(results: StudyResults) -> TrialConfig | None:
    scored = estimates(results, "ablate", "validation")
    cells = {cell["key"]: cell["config"] for cell in results.attributes.get("cells") or ()}
    scored = scored[scored["key"].isin(cells)]
    if scored.empty:
        return None
    best = int((results.objective.sign * scored["value"]).to_numpy().argmax())
    return TrialConfig.from_row(cells[str(scored["key"].iloc[best])])


def the_study(given: argparse.Namespace, settings: Sweep) -> tuple[StudyResults, float | None]:
    """The study of (i), and the seconds that running it took where it was run now."""
    if not given.run:
        return read_study(given.study, given.results), None
    if (given.results / given.study).exists():
        raise SystemExit(f"--run: {given.results / given.study} is there already")
    start = time.perf_counter()
    results = run_sweep(settings, given.study, given.results)
    return results, time.perf_counter() - start


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Everything, one part after the other."""
    settings = sweep.load_sweep("ner_medical", given.set)
    results, ran = the_study(given, settings)
    task = load_task_for(settings)
    training = settings.training
    steps = given.steps or step_count(training, len(task.examples("train")), 1.0)
    training = training.model_copy(update={"steps": steps, "epochs": None})
    examples = len(task.examples("validation"))
    sample = sampled(given, steps, min(examples, given.examples or examples))
    prices = Prices(sample["a"])
    trainer = SequentialTrainer(base_model.load(settings.model, 1), task, training)
    searched = search(
        trainer, settings, task, prices, given.trials or settings.search.trials, given.sampler_seed
    )
    chosen = picks(results, searched)
    scores = tested(trainer, chosen, given.seeds)
    factors = settings.ablation.factors
    looks = settings.confirmation.looks
    grids = {
        "full grid": full_grid(settings.space, given.rates),
        "small grid": small_grid(
            len(factors.get("rank", settings.space.rank)),
            len(factors.get("target_modules", settings.space.target_modules)),
            settings.ablation.rates,
            looks[-1],
        ),
    }
    costs = {name: grid.cost(prices, steps, examples) for name, grid in grids.items()}
    stages, reading = stage_times(results), training.reading_examples
    workers = int(results.provenance.get("workers", 1))
    costs["TPE, median pruner"] = searched.cost
    costs["the sweep's own trials"] = same_trials(results, prices, reading)
    engine = Prices(sample["c"])
    charged = {
        "all": same_trials(results, engine, reading).cpu,
        "search": same_trials(results, engine, reading, "search").cpu,
    }
    return {
        "machine": machine(),
        "asked": {**vars(given), "out": None, "results": None, "steps": steps},
        "stages": {name: vars(each) for name, each in stages.items()},
        "workers": workers,
        "ran_seconds": ran,
        "sample": {
            name: [{**vars(one), "spent": {k: [*v] for k, v in one.spent.items()}} for one in each]
            for name, each in sample.items()
        },
        "price_ratios": _price_ratios(sample, steps, examples),
        "grids": {name: {"trials": grid.trials, **vars(grid)} for name, grid in grids.items()},
        "search": {**searched._asdict(), "pick": searched.pick and searched.pick.label()},
        "costs": {name: spent._asdict() for name, spent in costs.items()},
        "ratios": ratios(
            {name: each.cpu for name, each in costs.items()}, stages, workers, charged
        ),
        "picks": {name: config.label() for name, config in chosen.items()},
        "tested": compared(scores, task.objective, _OURS),
    }


def _price_ratios(sample: dict[str, list[Price]], steps: int, examples: int) -> list[float]:
    """How many times as long as this project's engine the usual loop takes, for each trial."""
    pairs = zip(sample["a"], sample["c"], strict=True)
    return [a.charge(steps, examples).cpu / c.charge(steps, examples).cpu for a, c in pairs]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--study", default="ner_medical", help="of (i)")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--run", action="store_true", help="run the study of (i) first")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--trials", type=int, help="of (iii); those of the sweep's search")
    parser.add_argument("--sampler-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="of each training here; those of the sweep")
    parser.add_argument("--examples", type=int, help="scored in the sample; all of validation")
    parser.add_argument("--sample", type=int, default=6, help="configurations that are priced")
    parser.add_argument("--rates", type=int, default=5, help="learning rates of the full grid")
    parser.add_argument("--seeds", type=int, default=5, help="fresh ones for each pick")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    return parser.parse_args(words)


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = arguments()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    found = run(given)
    sys.stdout.write(markdown(found) + "\n")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
