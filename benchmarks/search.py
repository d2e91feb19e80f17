"""Searches replayed on a recorded table: who needs few steps for a good point.

    python -m benchmarks.search [--replays 100] [--out FILE]

Each policy asks Optuna as a study does, one trial after the other; a trial's readings and its
final value come from the table (see `search_table`), its learning rate from the nearest one there.
What a trial costs is the share of a full training's steps that it ran. Regret is the table's best
value less that of the incumbent: the best complete trial so far, as a study would take it.
"""

import argparse
import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import optuna

from benchmarks.search_table import GRID, TABLE, name_of, read
from benchmarks.trials_report import machine
from harness.config import sweep
from harness.config.sweep import Sweep
from harness.storage import study as sampling
from harness.study.search import initial_configs

#: Budgets at which regret is told, in full trainings.
BUDGETS: Final = (2, 4, 7.5, 10, 15, 20, 30)
#: Full random trials that ours has to equal with a quarter of the steps.
_RANDOM: Final = (20, 30, 40)
_TRIALS: Final = 200
_ORDERED: Final = ("rank", "alpha_ratio")


class Trace(NamedTuple):
    """One search: the budget spent after each trial, and the incumbent's value then."""

    spent: tuple[float, ...]
    best: tuple[float, ...]

    def at(self, budget: float) -> float:
        """The incumbent's value at a budget; nought before the first complete trial."""
        done = sum(cost <= budget + 1e-9 for cost in self.spent)
        return self.best[done - 1] if done else 0.0

    def needs(self, value: float) -> float:
        """Budget until the incumbent is as good; infinite where it never is."""
        for cost, best in zip(self.spent, self.best, strict=True):
            if best >= value - 1e-12:
                return cost
        return math.inf


Sampler = Callable[[int, int], optuna.samplers.BaseSampler]


class Policy(NamedTuple):
    """How a search asks.

    Attributes:
        opening: whether it begins as `harness.study.search` has it, in the table's space.
        sampler: for a replay and a trial's number.
        pruner: for a replay.
        each: whether every trial has a sampler of its own, as in a study.
        ordered: whether levels that have an order are drawn by their place in it.
    """

    sampler: Sampler
    pruner: Callable[[], optuna.pruners.BasePruner]
    each: bool = False
    ordered: bool = False
    opening: bool = False


def _ours(changes: Sequence[str] = (), ordered: bool = False, opening: bool = True) -> Policy:
    settings = sweep.load_sweep("ner_medical", changes)

    def sampler(replay: int, number: int) -> optuna.samplers.BaseSampler:
        return sampling.sampler(_seeded(settings, replay), f"search/{number}")

    return Policy(sampler, lambda: sampling.pruner(settings), True, ordered, opening)


def _seeded(settings: Sweep, replay: int) -> Sweep:
    return settings.model_copy(update={"seed": replay})


def policies() -> dict[str, Policy]:
    """All that are compared, ours first."""
    none = optuna.pruners.NopPruner

    def tpe(replay: int, _: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=replay)

    def random(replay: int, _: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.RandomSampler(seed=replay)

    def grid(replay: int, _: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GridSampler({k: list(v) for k, v in GRID.items()}, seed=replay)

    return {
        "ours (default)": _ours(),
        "ours, begun at random": _ours(opening=False),
        "ours at random, halving": _ours(["search.pruner=halving"], opening=False),
        "ours at random, no pruner": _ours(["search.pruner=none"], opening=False),
        "ours at random, five first": _ours(["search.startup=5"], opening=False),
        "ours at random, pruned from the second on": _ours(
            ["search.pruner_startup=1"], opening=False
        ),
        "ours at random, ordered levels": _ours(ordered=True, opening=False),
        "Optuna's TPE, no pruner": Policy(tpe, none),
        "random": Policy(random, none),
        "random, median pruner": Policy(random, lambda: optuna.pruners.MedianPruner(4)),
        "grid": Policy(grid, none),
        "Hyperband": Policy(tpe, lambda: optuna.pruners.HyperbandPruner(1, 4, 2)),
    }


def replay(name: str, number: int, path: str, budget: float) -> Trace:
    """One search by a policy.

    Args:
        name: of the policy.
        number: seeds it.
        path: of the table.
        budget: full trainings after which it ends.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    policy, table = policies()[name], _table(path)
    rows, steps = table
    # Hyperband takes a trial's bracket from the study's name.
    study = optuna.create_study(
        direction="maximize", pruner=policy.pruner(), study_name=f"{name} {number}"
    )
    if not policy.each:
        study.sampler = policy.sampler(number, 0)
    for params in _opening(number) if policy.opening else ():
        study.enqueue_trial(params)
    spent, best, seen = 0.0, -math.inf, dict[tuple[Any, ...], float]()
    costs, values = [], []
    for index in range(_TRIALS):
        if spent >= budget:
            break
        if policy.each:
            study.sampler = policy.sampler(number, index)
        trial = study.ask()
        trial.set_user_attr("slot", f"search/{index}")
        trial.set_user_attr("stage", "search")
        key = _point(trial, name == "grid", policy.ordered)
        if policy.each and key in seen:  # a study does not run the same twice
            study.tell(trial, seen[key])
            continue
        cost, value = _run(trial, rows[key], steps)
        spent += cost
        if value is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
            seen[key] = value
            best = max(best, value)
        costs.append(spent)
        values.append(max(best, 0.0))
    return Trace(tuple(costs), tuple(values))


def _opening(number: int) -> list[dict[str, Any]]:
    """The first trials in the table's space, rates moved at random within their part of the range.

    The table has four rates only: unmoved, all replays would begin with the same points.
    """
    rates, rng = GRID["learning_rate"], np.random.default_rng(number)
    step = math.sqrt(rates[1] / rates[0])
    low, high = rates[0] / step, rates[-1] * step
    levels = [f"space.{name}={[*GRID[name]]}" for name in GRID if name != "learning_rate"]
    asked = [*levels, "space.dropout=[0.0]", f"space.learning_rate={{low: {low}, high: {high}}}"]
    settings = sweep.load_sweep("ner_medical", asked)
    configs = initial_configs(settings)
    width = math.log(high / low) / len(configs)
    found = []
    for config in configs:
        moved = config.learning_rate * math.exp(width * (rng.random() - 0.5))
        params = settings.space.parameters(config)
        del params["dropout"]
        found.append({**params, "learning_rate": min(max(moved, low), high)})
    return found


_tables: dict[str, tuple[dict[tuple[Any, ...], dict[str, Any]], int]] = {}


def _table(path: str) -> tuple[dict[tuple[Any, ...], dict[str, Any]], int]:
    if path not in _tables:
        found = read(Path(path))
        _tables[path] = ({name_of(row): row for row in found["rows"]}, int(found["steps"]))
    return _tables[path]


def _point(trial: optuna.Trial, on_grid: bool, ordered: bool) -> tuple[Any, ...]:
    """A point of the table; the rate is drawn from its range and moved to the nearest there."""
    found = []
    for name, levels in GRID.items():
        if name == "learning_rate" and not on_grid:
            step = math.sqrt(levels[1] / levels[0])
            rate = trial.suggest_float(name, levels[0] / step, levels[-1] * step, log=True)
            found.append(min(levels, key=lambda level: abs(math.log(level / rate))))
        elif ordered and name in _ORDERED:
            found.append(levels[trial.suggest_int(name, 0, len(levels) - 1)])
        else:
            found.append(trial.suggest_categorical(name, levels))
    return tuple(found)


def _run(trial: optuna.Trial, row: dict[str, Any], steps: int) -> tuple[float, float | None]:
    """What a trial costs, and its value; None if it was pruned or failed on the way."""
    for step, value in row["readings"]:
        trial.report(value, step)
        if trial.should_prune():
            return step / steps, None
    if row["value"] is None:  # diverged
        return (row["readings"][-1][0] / steps if row["readings"] else 0.25), None
    return 1.0, row["value"]


def summary(traces: Sequence[Trace], optimum: float) -> dict[str, tuple[float, float, float]]:
    """Mean regret at each budget with its 95 % interval (normal, over replays)."""
    told = {}
    for budget in BUDGETS:
        regrets = np.array([optimum - trace.at(budget) for trace in traces])
        half = 1.96 * regrets.std(ddof=1) / math.sqrt(len(regrets))
        told[f"{budget:g}"] = (regrets.mean(), regrets.mean() - half, regrets.mean() + half)
    return told


def shares(
    ours: Sequence[Trace], random: Sequence[Trace], rng: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Steps that ours needs for what random search reaches with N full trials, as a share of N.

    The quality is random search's median; the share is the median over replays of ours, with an
    interval by resampling replays of both.
    """
    told = {}
    for many in _RANDOM:

        def one(a: Sequence[Trace], b: Sequence[Trace], many: int = many) -> float:
            value = float(np.median([trace.at(many) for trace in b]))
            return float(np.median([trace.needs(value) for trace in a])) / many

        drawn = [one(_resampled(ours, rng), _resampled(random, rng)) for _ in range(500)]
        # No interpolation: beside a replay that never gets there it would be no number.
        low, high = np.percentile(drawn, [2.5, 97.5], method="inverted_cdf")
        told[f"{many}"] = (one(ours, random), float(low), float(high))
    return told


def _resampled(traces: Sequence[Trace], rng: np.random.Generator) -> list[Trace]:
    return [traces[index] for index in rng.integers(0, len(traces), len(traces))]


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Replays all policies."""
    path = str(given.table)
    rows, _ = _table(path)
    optimum = max(row["value"] or 0.0 for row in rows.values())
    names = [name for name in policies() if not given.policies or name in given.policies]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = {
            name: [
                pool.submit(replay, name, number, path, max(BUDGETS + _RANDOM))
                for number in range(given.replays)
            ]
            for name in names
        }
        traces = {name: [job.result() for job in parts] for name, parts in jobs.items()}
    rng = np.random.default_rng(0)
    return {
        "machine": machine(),
        "replays": given.replays,
        "trainings": len(rows),
        "optimum": optimum,
        "regret": {name: summary(each, optimum) for name, each in traces.items()},
        "share of random's steps": {
            name: shares(traces[name], traces["random"], rng) for name in names if name != "random"
        },
    }


def markdown(told: dict[str, Any]) -> str:
    """The figures as tables for `search.md`."""
    about = ", ".join(f"{name} {value}" for name, value in told["machine"].items())
    lines = [
        f"{about}; {told['replays']} replays on {told['trainings']} trainings, whose best scores "
        f"{100 * told['optimum']:.1f}.",
    ]
    for title, key, head, factor, digits in (
        ("Regret in points, by budget in full trainings", "regret", "", 100.0, 1),
        (
            "Steps needed for what random search reaches with N full trials, as a share of N",
            "share of random's steps",
            "N = ",
            1.0,
            2,
        ),
    ):
        columns = list(next(iter(told[key].values())))
        lines += ["", f"## {title}", "", f"| | {' | '.join(head + c for c in columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for name, values in told[key].items():
            cells = " | ".join(
                "{} ({} to {})".format(*(_told(factor * each, digits) for each in triple))
                for triple in values.values()
            )
            lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _told(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "never"


def main() -> None:
    """Replays, prints, and writes what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument(
        "--policies", type=lambda text: text.split(";"), help="some, by semicolons, with `random`"
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args()
    told = run(given)
    print(markdown(told))
    if given.out is not None:
        given.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
