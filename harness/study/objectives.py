"""What a search looks for beside the task's objective: small costs, or further metrics.

Several objectives have no best trial but a front. Optuna's multi-objective TPE searches it; the
database keeps the task's objective as the value of a trial, and the others beside it as losses.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from harness.costs import COSTS
from harness.errors import UserError, did_you_mean
from harness.storage.study import LOSSES as LOSSES
from harness.tasks.task import Task
from harness.trial import TrialResult

#: The attribute of a study that has the directions of the other objectives by name.
DIRECTIONS: Final = "objectives"


def directions(names: Sequence[str], task: Task) -> dict[str, str]:
    """`minimize` or `maximize` for each further objective, in the order they are asked for.

    Args:
        names: from `search.objectives`.
        task: whose metrics they may be.

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


def losses(wanted: Mapping[str, str], result: TrialResult) -> dict[str, float]:
    """The further objectives of a complete trial, each to be made small.

    Args:
        wanted: from `directions`.
        result: scored on the validation split.
    """
    values = result.scores["validation"].values
    return {
        name: float(getattr(result.cost, name))
        if name in COSTS
        else (-1.0 if direction == "maximize" else 1.0) * float(values[name])
        for name, direction in wanted.items()
    }
