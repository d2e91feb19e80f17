"""The order of a study's stages: search -> ablate -> confirm, then what claims need.

Each stage has a module (`search`, `ablation`, `confirmation`, `claims`) that plans its trials.
What a stage decides (the incumbent, the cells, the finalists) is written to the database once, so
that a study that is interrupted and resumed continues the same way.
"""

from collections.abc import Iterator, Sequence

from harness.storage.records import setter_for_round
from harness.storage.study import PlannedTrial
from harness.study import ablation, claims, confirmation, search
from harness.study.planning import PlanningContext
from harness.trial import Stage


def next_trials(context: PlanningContext, ended: set[str]) -> list[PlannedTrial]:
    """The trials that the first incomplete stage still needs; none once the study is complete.

    Args:
        context: `results` may end anywhere.
        ended: names of planned trials that have ended (and were not lost).
    """
    decide = setter_for_round(context.decide, context.results.attributes)
    for trials in _planned(context._replace(decide=decide)):
        if pending := [trial for trial in trials if trial.name not in ended]:
            return pending
    return []


def _planned(context: PlanningContext) -> Iterator[Sequence[PlannedTrial]]:
    """The trials of each stage in order.

    A generator, because a stage decides from the results of those before it: it may only be
    reached when all of their trials have ended.
    """
    sweep = context.sweep
    duplicates = int(context.results.trials["duplicate_of"].notna().sum())
    yield search.search_trials(sweep, duplicates)
    incumbent = search.decide_incumbent(context)
    if incumbent is None:
        return
    cells = ablation.decide_cells(context, incumbent)
    full = ablation.decide_full_finetuning(context, incumbent)
    yield ablation.tuning_trials([*cells, *full], sweep)
    yield ablation.cell_trials(ablation.tuned_cells(context, cells), sweep)
    yield ablation.cell_trials(ablation.tuned_full(context, full), sweep, Stage.FULL)
    yield from confirmation.confirmation_trials(context)
    cells = claims.decide_claim_cells(context, incumbent)
    yield ablation.tuning_trials([cell for cell in cells if len(cell.rates) > 1], sweep)
    yield claims.claim_trials(context, cells)
