"""The search: its first trials, its further objectives, and the incumbent it ends with.

A search by TPE begins at the most capable corner of the space, at rates over its range. The
learning rate matters most, and at the highest capacity a good one shows best; that smaller
adapters do as well is for the ablation to show. A sampler that starts at random spends its first
trials on corners that no guide recommends.

A search for several objectives has no best trial but a Pareto front. Optuna's multi-objective TPE
searches it; the database keeps the task's objective as the value of a trial, and the others as
losses in an attribute.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from harness.analysis import recommendation
from harness.config.sweep import Sweep
from harness.costs import COSTS
from harness.errors import UserError, did_you_mean
from harness.storage.study import PlannedTrial
from harness.study.planning import PlanningContext, seed_of
from harness.tasks.task import Task
from harness.trial import Stage, TrialConfig, TrialResult

#: Groups of modules, the most capable first; module names joined by `+` come after them, the
#: more names the earlier.
_BY_CAPACITY: Final = ("all_linear", "attention", "mlp", "qkv", "qv", "q")
#: The alpha that most guides recommend, as a multiple of the rank.
_USUAL_ALPHA_RATIO: Final = 2.0


def search_trials(sweep: Sweep, duplicates: int = 0) -> tuple[PlannedTrial, ...]:
    """The search's trials; each duplicate adds one, up to twice as many trials as requested."""
    count, seed = sweep.search.trials, seed_of(sweep, Stage.SEARCH)
    count += min(duplicates, count)
    first = dict(enumerate(config.replace(seed=seed) for config in initial_configs(sweep)))
    return tuple(
        PlannedTrial(f"search/{i}", Stage.SEARCH, seed, first.get(i)) for i in range(count)
    )


def initial_configs(sweep: Sweep) -> tuple[TrialConfig, ...]:
    """The configurations that a search by TPE begins with, the middle rate first.

    Returns:
        `search.opening` of them, at most `search.trials`; none for a random search, which fixed
        trials would make less so.
    """
    search, space = sweep.search, sweep.space
    count = min(search.opening, search.trials) if search.sampler == "tpe" else 0
    if not count:
        return ()
    rank = max(space.rank)
    ratio = min(space.alpha_ratio, key=lambda level: abs(math.log(level / _USUAL_ALPHA_RATIO)))
    plain = TrialConfig(
        variant=space.variant[0],
        rank=rank,
        alpha=ratio * rank,
        dropout=min(space.dropout),
        target_modules=max(space.target_modules, key=_capacity),
        learning_rate=1.0,
        seed=0,
    )
    for name in space.varied_settings():
        if plain.level(name) not in space.levels(name):
            plain = plain.with_level(name, space.levels(name)[0])
    rates = _spread_rates(sweep, plain.variant, count)
    return tuple(plain.replace(learning_rate=rate) for rate in rates)


def _capacity(group: str) -> tuple[int, int]:
    known = group in _BY_CAPACITY
    return (len(_BY_CAPACITY) - _BY_CAPACITY.index(group) if known else 0, group.count("+"))


def _spread_rates(sweep: Sweep, variant: str, count: int) -> list[float]:
    """The middles of equal parts of the range (by logarithm), from the middle outwards."""
    dimension = sweep.space.learning_rate
    if isinstance(dimension, tuple):
        levels = sorted(dimension)
        indices = sorted({int((k + 0.5) / count * len(levels)) for k in range(count)})
        rates = [levels[index] for index in indices]
    else:
        bounds = dimension.range_of(variant)
        ratio = bounds.high / bounds.low
        rates = [float(f"{bounds.low * ratio ** ((k + 0.5) / count):.3g}") for k in range(count)]
        # Rounding to three digits may step over a bound.
        rates = [min(max(rate, bounds.low), bounds.high) for rate in rates]
    middle = (len(rates) - 1) / 2
    return sorted(rates, key=lambda rate: (abs(rates.index(rate) - middle), rate))


def decide_incumbent(context: PlanningContext) -> TrialConfig | None:
    """The centre of the ablation: the search's best, or the one that the sweep names.

    Returns:
        None if every search trial failed or was pruned.
    """
    centre, decide = context.sweep.ablation.centre, context.decide
    if centre is not None:
        body = centre.model_dump()
        config = TrialConfig(alpha=body.pop("alpha_ratio") * body["rank"], seed=0, **body)
        return TrialConfig(**decide("incumbent", asdict(config)))
    best = recommendation.incumbent(context.results)
    if best is None:
        decide(
            "dropped.search", ["every search trial failed or was pruned: there is no incumbent"]
        )
        return None
    row = {str(name): value for name, value in best.items()}
    return TrialConfig(**decide("incumbent", asdict(TrialConfig.from_row(row))))


def directions(names: Sequence[str], task: Task) -> dict[str, str]:
    """`minimize` or `maximize` for each further objective, in the order of their names.

    Raises:
        UserError: one of them is neither a cost nor a further metric of the task.
    """
    known = {name: "minimize" for name in COSTS}
    known |= {m.name: m.direction for m in task.metrics if m.name != task.objective.name}
    for name in names:
        if name == task.objective.name:
            raise UserError(f"search.objectives: {name} is the task's objective already")
        if name not in known:
            raise UserError(f"search.objectives: unknown '{name}'; {did_you_mean(name, known)}")
        if not known[name]:
            raise UserError(
                f"search.objectives: whether more or less {name} is better is not known; its "
                "task.yaml says so only of the objective"
            )
    return {name: known[name] for name in names}


def losses(objectives: Mapping[str, str], result: TrialResult) -> dict[str, float]:
    """The further objectives of a complete trial as losses, which are to be minimized.

    Args:
        objectives: from `directions`.
        result: scored on the validation split.
    """
    values = result.scores["validation"].values
    return {
        name: float(getattr(result.cost, name))
        if name in COSTS
        else (-1.0 if direction == "maximize" else 1.0) * float(values[name])
        for name, direction in objectives.items()
    }
