"""One worker: ask -> train -> tell, until the study owes nothing. Workers meet in the database.

What has to be beaten: the task's own guesses and the bare base, scored when idle.

Each worker takes its share of the jobs. What `--minutes` leaves no time for is noted as dropped.

What a worker writes down of a base model, for whoever reads the study without one.

The base of a study in one of its workers: its precision, its weights, whose copy they are.
"""

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import optuna
from optuna.trial import TrialState
from transformers import PreTrainedModel

from harness.config import sweep as sweeps
from harness.config.settings import ModelSettings
from harness.config.space import SearchSpace
from harness.config.sweep import Sweep
from harness.config.variants import Variant, resolve_variant
from harness.errors import UserError
from harness.models import base_model, shared_weights
from harness.models.base_model import BaseModel
from harness.storage.heartbeat import Heartbeat, fail_dead_workers
from harness.storage.records import Decide, Records
from harness.storage.study import StudyStore, is_lost
from harness.study import objectives, stages
from harness.study.launcher import WorkerSpec
from harness.study.planning import SEARCH_SHARE, TimeBudget
from harness.study.racing import ScoreRace
from harness.tasks.task import Example, Task, load_task_for
from harness.training.packed.selection import resolve_precision
from harness.training.trainer import Trainer
from harness.trial import (
    EXTRA_SETTINGS,
    Measurement,
    Outcome,
    SplitScores,
    Stage,
    TrialRequest,
    TrialResult,
)

#: Scores a split with the bare base: (split, worked examples, rows run together).
Scorer = Callable[[str, tuple[Example, ...], int], SplitScores]
#: Test first: that is what the report compares with.
_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class BaselineJobs:
    """One worker's baselines.

    Attributes:
        task: what is scored.
        sweep: how many worked examples.
        records: where scores go.
        score: runs the base.
        is_over: whether the study's time is over.
        index: which worker, from 0.
        workers: how many there are.
    """

    task: Task
    sweep: Sweep
    records: Records
    score: Scorer
    is_over: Callable[[], bool]
    index: int = 0
    workers: int = 1

    def step(self) -> bool:
        """Scores, or drops, one baseline that is missing; False when none is left."""
        missing = next(self._missing(), None)
        if missing is None:
            return False
        name, split, shots = missing
        if shots is None:
            self.records.add_baseline(name, self._guesses(name, split))
        elif self.is_over():
            said = f"the base model with {shots} examples on {split}: --minutes was over"
            self.records.set_once(_dropped(name, split), [said])
        else:
            worked = self.task.few_shot_examples(shots, self.sweep.seed)
            # Worked examples make a prompt so much longer: fewer rows need the same memory.
            rows = max(1, self.sweep.training.score_batch_size // (1 + shots))
            self.records.add_baseline(name, self.score(split, worked, rows))
        return True

    def _missing(self) -> Iterator[tuple[str, str, int | None]]:
        named: list[tuple[str, int | None]] = [(name, None) for name in self.task.baselines]
        kind = self.task.type
        counts = self.sweep.baselines.shots if kind.supports_few_shot else (0,)
        named += [(f"base_{count}_shot", count) for count in counts if kind.supports_zero_shot]
        jobs = [(name, split, shots) for split in _SPLITS for name, shots in named]
        there, known = self.records.baselines(), self.records.attributes()
        for place, (name, split, shots) in enumerate(jobs):
            done = (name, split) in there or _dropped(name, split) in known
            if place % self.workers == self.index and not done:
                yield name, split, shots

    def _guesses(self, name: str, split: str) -> SplitScores:
        from harness.training.evaluation import score_predictions  # torch is loaded by then

        return score_predictions(self.task, split, self.task.baseline_predictions(name, split))


def _dropped(name: str, split: str) -> str:
    return f"dropped.time.{name}.{split}"


def record_model_facts(model: PreTrainedModel, space: SearchSpace, decide: Decide) -> None:
    """What a `LoraConfig` needs beside the search space.

    Args:
        model: the base.
        space: what is searched.
        decide: writes a decision unless there is one.
    """
    from harness.adapters.targets import target_names
    from harness.models import token_classifier

    head = token_classifier.find_head(model)
    if head is not None:
        noted = {"module": head.name, "labels": list(token_classifier.labels(model))}
        decide("head", {**noted, "task_type": token_classifier.task_type(model)})
    found = {group: target_names(model, group) for group in space.target_modules}
    for group, layers in product(space.target_modules, space.layers):
        if layers != EXTRA_SETTINGS["layers"]:
            found[f"{group} in {layers}"] = target_names(model, group, layers)
    decide("modules", {name: list(each) for name, each in found.items()})
    decide("variants", {name: _traits(resolve_variant(name)) for name in space.variant})


def full(model: PreTrainedModel, workers: int, decide: Decide) -> None:
    """Whether all weights can be trained here, for the stage that would do so.

    Args:
        model: the base.
        workers: who share the memory.
        decide: writes a decision unless there is one.
    """
    from harness.adapters.methods.full import why_untrainable
    from harness.models.memory import available_bytes

    # Also where the sweep does not ask for it: claims may, later.
    decide("full_impossible", why_untrainable(model, available_bytes() // workers))


def _traits(variant: Variant) -> dict[str, Any]:
    """What a reader needs to write the configuration down."""
    return {
        "peft": dict(variant.peft),
        "optimiser": dict(variant.optimizer),
        "kind": variant.method,
        "frozen": list(variant.frozen),
        "initial_rank": variant.initial_rank,
        "root_scale": variant.root_scale,
        "source": variant.source,
        "peft_class": variant.peft_class,
        "snippet_remark": variant.snippet_remark,
    }


def load_study_base(
    sweep: Sweep, task: Task, assignment: WorkerSpec, records: Records
) -> BaseModel:
    """Loads the base as the study has it.

    Args:
        sweep: the study's.
        task: its task.
        assignment: of this worker.
        records: where is decided what holds for all workers.

    Raises:
        UserError: the model cannot be loaded, or is not the one the study began with.
    """
    noted = records.attributes().get("dtype")
    threads = assignment.threads
    model = resolve_precision(sweep.model, task, sweep.training, threads, records.set_once, noted)
    base = base_model.load(model, threads, task.type.head)
    first = records.set_once("base_fingerprint", base.fingerprint)
    if first != base.fingerprint:
        raise UserError(
            f"model.name: {model.name} holds other weights or another tokenizer than when study "
            f"'{assignment.study}' began; choose another name with --study NAME"
        )
    folder = assignment.folder
    if folder is not None and assignment.workers > 1 and _copied(base, model):
        shared_weights.share_weights(base.model, folder, base.fingerprint)
    return base


def _copied(base: BaseModel, model: ModelSettings) -> bool:
    """Whether loading made a copy of the weights instead of mapping their file."""
    if base.device.type != "cpu" or model.quantization != "none":
        return False
    stored = base_model.load_config(model).dtype
    return bool(stored != next(base.model.parameters()).dtype)


#: Seconds between looks at a study in which others are still running.
_POLL: Final = 0.5


class Worker:
    """Claims trials for a trainer and brings back its results.

    Args:
        assignment: where and how to work.
    """

    def __init__(self, assignment: WorkerSpec) -> None:
        """Opens the study and checks that its task is still the one it was made with."""
        self.assignment = assignment
        self.name = f"{socket.gethostname()}-{os.getpid()}-{assignment.index}"
        reader = StudyStore(assignment.url, assignment.study)
        frozen = Records(reader).sweep()
        reader.close()
        self.sweep = sweeps.parse_sweep(frozen, f"study '{assignment.study}'")
        self.studies = StudyStore(assignment.url, assignment.study, self.sweep)
        self.records = Records(self.studies)
        self.task = load_task_for(self.sweep)
        self.records.register(self.sweep, self.task.digest, self.task.objective, {})
        self._trials: dict[int, optuna.Trial] = {}
        names = self.sweep.search.objectives
        self._directions = objectives.directions(names, self.task)
        if names:
            self.records.set_once(objectives.DIRECTIONS, self._directions)
        alpha = 0.0 if names else self.sweep.search.racing
        self._referee = ScoreRace(self.studies, self.records, self.task.objective, alpha)

    def run(self) -> None:
        """Loads the base model and works until the study owes nothing, or its time is over.

        Raises:
            UserError: the model cannot be loaded, or is not the one the study began with.
        """
        # torch is only needed here; a worker that finds nothing to do still has to load it.
        from harness.models.memory import footprint
        from harness.training.evaluation import score
        from harness.training.packed.selection import make_trainer

        base = load_study_base(self.sweep, self.task, self.assignment, self.records)
        record_model_facts(base.model, self.sweep.space, self.records.set_once)
        full(base.model, self.assignment.workers, self.records.set_once)
        self.records.set_once("base_memory", footprint(base.model)._asdict())
        trainer = make_trainer(
            base,
            self.task,
            self.sweep.training,
            self.sweep.engine,
            self.records.set_once,
            self.records.attributes().get("engine"),
        )
        self.records.set_once("token_notes", list(trainer.notes))

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
        with Heartbeat(self.studies.engine, study, self.name, parent):
            try:
                for result in trainer.train(self.ask(idle), self.report, self.race):
                    self.tell(result)
            finally:
                self.studies.fail_trials_of(self.name)

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
            fail_dead_workers(self.studies)
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
        return self._referee.reason_to_stop(self._trials[number], scores, whole)

    def tell(self, result: TrialResult) -> None:
        """Stores an outcome, ours first: a trial that Optuna calls complete has its record."""
        trial = self._trials.pop(result.number)
        self.records.add_result(result)
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
        twin = self.studies.find_duplicate(trial) if stage is Stage.SEARCH else None
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
        owed = stages.next_trials(results, done, self.sweep, self.records.set_once, clock)
        return self.studies.enqueue(owed.slots)

    def _clock(self) -> TimeBudget:
        given = self.assignment
        if given.minutes is None:
            return TimeBudget(workers=given.workers)
        spent = given.spent + time.time() - given.began
        return TimeBudget(given.minutes * 60, spent, given.workers)

    def _time_is_over(self) -> bool:
        clock = self._clock()
        return clock.spent > clock.total

    def _end_search_in_time(self) -> None:
        """Leaves the other stages their share of `--minutes`."""
        clock = self._clock()
        if math.isinf(clock.total) or clock.trials_that_fit(SEARCH_SHARE, 1.0) > 0:
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
            self.records.set_once(
                f"dropped.time.{stage}", [f"{stage}: {count} {trials} not run, {reason}"]
            )


def run(assignment: WorkerSpec) -> None:
    """Makes a worker and lets it work."""
    Worker(assignment).run()
