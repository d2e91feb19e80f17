"""The order of a study's stages: search -> ablate -> confirm, then what claims need.

Each stage has a module (`search`, `ablation`, `confirmation`, `claims`) that plans its trials.
What a stage decides (the incumbent, the cells, the finalists) is written to the database once, so
that a study that is interrupted and resumed continues the same way.
"""

from collections.abc import Iterator, Sequence

from harness.config.sweep import Sweep
from harness.results import StudyResults
from harness.storage.records import Decide, setter_for_round
from harness.storage.study import PlannedTrial
from harness.study import ablation, claims, confirmation, search
from harness.study.planning import PendingTrials, TimeBudget, without


def next_trials(
    results: StudyResults, ended: set[str], sweep: Sweep, decide: Decide, budget: TimeBudget
) -> PendingTrials:
    """The first stage with trials that have not ended, and those trials.

    Args:
        results: the study so far.
        ended: names of planned trials that have ended (and were not lost).
        sweep: what the study runs.
        decide: writes a decision unless there is one, and returns the one that holds.
        budget: what `--minutes` leaves.
    """
    decide = setter_for_round(decide, results.attributes)
    for stage, trials in _planned(results, sweep, decide, budget):
        if pending := without(trials, ended):
            return PendingTrials(stage, pending)
    return PendingTrials("done", ())


def _planned(
    results: StudyResults, sweep: Sweep, decide: Decide, budget: TimeBudget
) -> Iterator[tuple[str, Sequence[PlannedTrial]]]:
    """The trials of each stage in order.

    A generator, because a stage decides from the results of those before it: it may only be
    reached when all of their trials have ended.
    """
    duplicates = int(results.trials["duplicate_of"].notna().sum())
    yield "search", search.search_trials(sweep, duplicates)
    incumbent = search.decide_incumbent(results, sweep, decide)
    if incumbent is None:
        return
    cells = ablation.decide_cells(results, sweep, incumbent, decide, budget)
    full = ablation.decide_full_finetuning(results, sweep, incumbent, decide, budget)
    yield "tune", ablation.tuning_trials([*cells, *full], sweep)
    yield "ablate", ablation.cell_trials(ablation.tuned_cells(results, cells, decide), sweep)
    yield "full", ablation.full_trials(ablation.tuned_full(results, full, decide), sweep)
    for trials in confirmation.confirmation_trials(results, sweep, decide, budget):
        yield "confirm", trials
    cells = claims.decide_claim_cells(results, sweep, incumbent, decide)
    tunable = [cell for cell in cells if len(cell.rates) > 1]
    yield "tune", ablation.tuning_trials(tunable, sweep)
    yield "claim", claims.claim_trials(results, cells, sweep, decide)
