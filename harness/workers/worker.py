"""One worker: ask -> train -> tell, until the study owes nothing. Workers meet in the database."""

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Final

import optuna
from optuna.trial import TrialState

from harness import objectives, stages
from harness import sweep as sweeps
from harness.clock import SEARCH_SHARE, Clock
from harness.storage.heartbeat import Heart, reap
from harness.storage.records import Records
from harness.storage.studies import Studies, is_lost
from harness.task import Example
from harness.training.trainer import Trainer
from harness.trial import (
    Measurement,
    Outcome,
    SplitScores,
    Stage,
    TrialRequest,
    TrialResult,
)
from harness.workers import noting
from harness.workers.assignment import Assignment
from harness.workers.baseline_jobs import BaselineJobs, Scorer
from harness.workers.referee import Referee
from harness.workers.tasks import load_task_of

#: Seconds between looks at a study in which others are still running.
_POLL: Final = 0.5


class Worker:
    """Claims trials for a trainer and brings back its results.

    Args:
        assignment: where and how to work.
    """

    def __init__(self, assignment: Assignment) -> None:
        """Opens the study and checks that its task is still the one it was made with."""
        self.assignment = assignment
        self.name = f"{socket.gethostname()}-{os.getpid()}-{assignment.index}"
        reader = Studies(assignment.url, assignment.study)
        frozen = Records(reader).sweep()
        reader.close()
        self.sweep = sweeps.parse(frozen, f"study '{assignment.study}'")
        self.studies = Studies(assignment.url, assignment.study, self.sweep)
        self.records = Records(self.studies)
        self.task = load_task_of(self.sweep)
        self.records.register(self.sweep, self.task.digest, self.task.objective, {})
        self._trials: dict[int, optuna.Trial] = {}
        names = self.sweep.search.objectives
        self._directions = objectives.directions(names, self.task)
        if names:
            self.records.decide(objectives.DIRECTIONS, self._directions)
        alpha = 0.0 if names else self.sweep.search.racing
        self._referee = Referee(self.studies, self.records, self.task.objective, alpha)

    def run(self) -> None:
        """Loads the base model and works until the study owes nothing, or its time is over.

        Raises:
            UserError: the model cannot be loaded, or is not the one the study began with.
        """
        # torch is only needed here; a worker that finds nothing to do still has to load it.
        from harness.models.footprint import footprint
        from harness.packed.choosing import make_trainer
        from harness.training.evaluation import score
        from harness.workers.bases import load_base

        base = load_base(self.sweep, self.task, self.assignment, self.records)
        noting.names(base.model, self.sweep.space, self.records.decide)
        noting.full(base.model, self.assignment.workers, self.records.decide)
        self.records.decide("base_memory", footprint(base.model)._asdict())
        trainer = make_trainer(
            base,
            self.task,
            self.sweep.training,
            self.sweep.engine,
            self.records.decide,
            self.records.attributes().get("engine"),
        )
        self.records.decide("token_notes", list(trainer.notes))

        def bare(split: str, shots: tuple[Example, ...], rows: int) -> SplitScores:
            return score(base, self.task, split, shots=shots, batch_size=rows)

        self.work(trainer, self.baselines(bare).step)

    def baselines(self, bare: Scorer) -> BaselineJobs:
        """This worker's share of what has to be beaten.

        Args:
            bare: scores a split with the base model alone.
        """
        given = self.assignment
        return BaselineJobs(
            self.task,
            self.sweep,
            self.records,
            bare,
            self._time_is_over,
            given.index,
            given.workers,
        )

    def work(self, trainer: Trainer, idle: Callable[[], bool]) -> None:
        """Has a trainer run trials until the study owes nothing, or its time is over.

        Args:
            trainer: pulls trials and yields their results.
            idle: does one piece of other work if there is any, and says whether it did.
        """
        study, parent = self.assignment.study, self.assignment.parent
        with Heart(self.studies.engine, study, self.name, parent):
            try:
                for result in trainer.train(self.ask(idle), self.report, self.race):
                    self.tell(result)
            finally:
                self.studies.release(self.name)

    def ask(self, idle: Callable[[], bool]) -> Iterator[TrialRequest | None]:
        """Claims trial after trial; plans the next stage when nobody has one left.

        Args:
            idle: does one piece of other work if there is any, and says whether it did.
        """
        while True:
            if self._time_is_over():
                self._give_up("--minutes is over")
            self._end_search_in_time()
            trial = self.studies.claim(self.name)
            if trial is not None:
                request = self._request(trial)
                if request is not None:
                    yield request
                continue
            reap(self.studies)
            if self.studies.trials(TrialState.WAITING):
                continue
            if self._trials:  # what comes next waits for these, and they for nobody
                yield None
                continue
            if self.studies.trials(TrialState.RUNNING):
                if not idle():
                    time.sleep(_POLL)
                continue
            if self._enqueue_owed() == 0:
                while idle():
                    continue
                if not self.studies.trials(TrialState.WAITING, TrialState.RUNNING):
                    return

    def report(self, number: int, reading: Measurement) -> bool:
        """Hands a reading to Optuna; False stops the trial."""
        trial = self._trials[number]
        if reading.value is None:
            return True
        trial.report(reading.value, reading.step)
        return not (trial.should_prune() or self._time_is_over())

    def race(self, number: int, scores: SplitScores) -> str | None:
        """Why a trial is scored no further, if it is shown to be behind the best so far."""
        whole = len(self.task.examples(scores.split))
        return self._referee.judge(self._trials[number], scores, whole)

    def tell(self, result: TrialResult) -> None:
        """Stores an outcome, ours first: a trial that Optuna calls complete has its record."""
        trial = self._trials.pop(result.number)
        self.records.add(result)
        if result.proofs:
            trial.set_user_attr("proofs", list(result.proofs))
        if result.cost.inference_memory:
            trial.set_user_attr("inference_memory", result.cost.inference_memory)
        if result.changed is not None:
            trial.set_user_attr("changed", result.changed)
        if result.error is not None:
            trial.set_user_attr("error", result.error)
        if result.outcome is Outcome.COMPLETE:
            if self._directions:
                found = objectives.losses(self._directions, result)
                trial.set_user_attr(objectives.LOSSES, found)
            value = result.scores["validation"].values[self.task.objective.name]
            self.studies.study.tell(trial, value)
        else:
            pruned = result.outcome is Outcome.PRUNED
            state = TrialState.PRUNED if pruned else TrialState.FAIL
            self.studies.study.tell(trial, state=state)

    def _request(self, trial: optuna.Trial) -> TrialRequest | None:
        config = self.studies.config(trial)
        stage = Stage(trial.user_attrs["stage"])
        twin = self.studies.twin(trial) if stage is Stage.SEARCH else None
        if twin is not None:
            trial.set_user_attr("duplicate_of", twin.number)
            if objectives.LOSSES in twin.user_attrs:
                trial.set_user_attr(objectives.LOSSES, twin.user_attrs[objectives.LOSSES])
            self.studies.study.tell(trial, twin.values)
            return None
        self._trials[trial.number] = trial
        confirm, compared = stage is Stage.CONFIRM, stage is Stage.FULL
        return TrialRequest(
            trial.number,
            config,
            splits=("validation", "test") if confirm or compared else ("validation",),
            readings=stage is Stage.SEARCH,
            adapter_dir=self._adapter_dir(trial.number) if confirm else None,
        )

    def _adapter_dir(self, number: int) -> str | None:
        folder = self.assignment.folder
        return None if folder is None else str(folder / "adapters" / f"{number:04d}")

    def _enqueue_owed(self) -> int:
        results = self.records.read()
        finished = self.studies.trials(*(s for s in TrialState if s.is_finished()))
        done = {trial.user_attrs["slot"] for trial in finished if not is_lost(trial)}
        clock = self._clock()
        owed = stages.owed(results, done, self.sweep, self.records.decide, clock)
        return self.studies.enqueue(owed.slots)

    def _clock(self) -> Clock:
        given = self.assignment
        if given.minutes is None:
            return Clock(workers=given.workers)
        spent = given.spent + time.time() - given.began
        return Clock(given.minutes * 60, spent, given.workers)

    def _time_is_over(self) -> bool:
        clock = self._clock()
        return clock.spent > clock.total

    def _end_search_in_time(self) -> None:
        """Leaves the other stages their share of `--minutes`."""
        clock = self._clock()
        if math.isinf(clock.total) or clock.trials_until(SEARCH_SHARE, 1.0) > 0:
            return
        waiting = self.studies.trials(TrialState.WAITING)
        if any(trial.user_attrs["stage"] == Stage.SEARCH.value for trial in waiting):
            self._give_up("--minutes leaves no more time for the search")

    def _give_up(self, reason: str) -> None:
        waiting = self.studies.trials(TrialState.WAITING)
        if waiting:
            stage = waiting[0].user_attrs["stage"]
            count = self.studies.cancel_waiting(reason)
            trials = "trial was" if count == 1 else "trials were"
            self.records.decide(
                f"dropped.time.{stage}", [f"{stage}: {count} {trials} not run, {reason}"]
            )


def run(assignment: Assignment) -> None:
    """Makes a worker and lets it work."""
    Worker(assignment).run()
