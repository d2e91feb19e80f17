"""One worker: claims a trial, has it trained, stores its result, until no trial is pending.

Workers communicate through the database alone. When a worker has nothing to train, it scores its
share of the baselines: the task's own, and the base model without an adapter.

As a process, `python -m harness.study.worker SPEC` runs one worker with a `WorkerSpec` in JSON.
"""

import math
import os
import signal
import socket
import sys
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
from harness.errors import UserError, print_error, print_fault
from harness.models import base_model, shared_weights
from harness.models.base_model import BaseModel
from harness.storage.heartbeat import Heartbeat, fail_dead_workers
from harness.storage.records import Decide, Records
from harness.storage.study import DIRECTIONS, LOSSES, StudyStore, is_lost
from harness.study import search, stages
from harness.study.launcher import WorkerSpec
from harness.study.planning import SEARCH_SHARE, PlanningContext, TimeBudget
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

#: Scores a split with the base model: (split, few-shot examples, batch size).
Scorer = Callable[[str, tuple[Example, ...], int], SplitScores]
#: Test first: that is what the report compares with.
_SPLITS: Final = ("test", "validation")


@dataclass(frozen=True)
class BaselineJobs:
    """One worker's share of the baselines.

    Attributes:
        task: whose splits are scored.
        sweep: says how many few-shot examples.
        records: where scores go.
        score: runs the base model.
        time_is_over: whether `--minutes` is over.
        index: which worker, from 0.
        workers: how many there are.
    """

    task: Task
    sweep: Sweep
    records: Records
    score: Scorer
    time_is_over: Callable[[], bool]
    index: int = 0
    workers: int = 1

    def step(self) -> bool:
        """Scores, or drops, one baseline that is missing; False when none is missing."""
        missing = next(self._missing(), None)
        if missing is None:
            return False
        name, split, shots = missing
        if shots is None:
            from harness.training.evaluation import score_predictions  # torch is loaded by now

            predictions = self.task.baseline_predictions(name, split)
            self.records.add_baseline(name, score_predictions(self.task, split, predictions))
        elif self.time_is_over():
            reason = f"the base model with {shots} examples on {split}: --minutes was over"
            self.records.set_once(_dropped_attribute(name, split), [reason])
        else:
            examples = self.task.few_shot_examples(shots, self.sweep.seed)
            # A prompt with examples is about so many times as long: fewer rows need equal memory.
            rows = max(1, self.sweep.training.score_batch_size // (1 + shots))
            self.records.add_baseline(name, self.score(split, examples, rows))
        return True

    def _missing(self) -> Iterator[tuple[str, str, int | None]]:
        """Name, split and shots (None: a baseline of the task) of what is not stored yet."""
        names: list[tuple[str, int | None]] = [(name, None) for name in self.task.baselines]
        if self.task.type.supports_zero_shot:
            counts = self.sweep.baselines.shots if self.task.type.supports_few_shot else (0,)
            names += [(f"base_{count}_shot", count) for count in counts]
        jobs = [(name, split, shots) for split in _SPLITS for name, shots in names]
        stored, attributes = self.records.baselines(), self.records.attributes()
        for index, (name, split, shots) in enumerate(jobs):
            done = (name, split) in stored or _dropped_attribute(name, split) in attributes
            if index % self.workers == self.index and not done:
                yield name, split, shots


def _dropped_attribute(name: str, split: str) -> str:
    return f"dropped.time.{name}.{split}"


def record_model_facts(
    model: PreTrainedModel, space: SearchSpace, workers: int, decide: Decide
) -> None:
    """Records what a reader of the study has to know of its base model, which it does not load."""
    from harness.adapters.methods.full import why_untrainable
    from harness.adapters.targets import target_names
    from harness.models import token_classifier
    from harness.models.memory import available_bytes, footprint

    head = token_classifier.find_head(model)
    if head is not None:
        record = {"module": head.name, "labels": list(token_classifier.labels(model))}
        decide("head", {**record, "task_type": token_classifier.task_type(model)})
    modules = {group: target_names(model, group) for group in space.target_modules}
    for group, layers in product(space.target_modules, space.layers):
        if layers != EXTRA_SETTINGS["layers"]:
            modules[f"{group} in {layers}"] = target_names(model, group, layers)
    decide("modules", {name: list(names) for name, names in modules.items()})
    decide("variants", {name: variant_record(resolve_variant(name)) for name in space.variant})
    # Also where the sweep has no full fine-tuning: claims may request it later.
    decide("full_impossible", why_untrainable(model, available_bytes() // workers))
    decide("base_memory", footprint(model)._asdict())


def variant_record(variant: Variant) -> dict[str, Any]:
    """What a reader needs to write a configuration of the variant as a `LoraConfig`."""
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


def load_study_base(sweep: Sweep, task: Task, spec: WorkerSpec, records: Records) -> BaseModel:
    """Loads the base model of a study, in the precision that all its workers share.

    The first worker records the precision and the model's fingerprint.

    Raises:
        UserError: the model cannot be loaded, or is not the one the study began with.
    """
    stored = records.attributes().get("dtype")
    threads = spec.threads
    model = resolve_precision(sweep.model, task, sweep.training, threads, records.set_once, stored)
    base = base_model.load(model, threads, task.type.head)
    first = records.set_once("base_fingerprint", base.fingerprint)
    if first != base.fingerprint:
        raise UserError(
            f"model.name: {model.name} holds other weights or another tokenizer than when study "
            f"'{spec.study}' began; choose another name with --study NAME"
        )
    if spec.folder is not None and spec.workers > 1 and _is_copy(base, model):
        shared_weights.share_weights(base.model, spec.folder, base.fingerprint)
    return base


def _is_copy(base: BaseModel, model: ModelSettings) -> bool:
    """Whether loading made a copy of the weights instead of mapping their file."""
    if base.device.type != "cpu" or model.quantization != "none":
        return False
    stored = base_model.load_config(model).dtype
    return bool(stored != next(base.model.parameters()).dtype)


#: Seconds between two queries for a trial while other workers still run theirs.
_POLL: Final = 0.5


class Worker:
    """Claims trials for a trainer and stores its results.

    Args:
        spec: which study, and how to work on it.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        """Opens the study and checks that its task is still the one it was made with."""
        self.spec = spec
        self.name = f"{socket.gethostname()}-{os.getpid()}-{spec.index}"
        reader = StudyStore(spec.url, spec.study)
        frozen = Records(reader).sweep()
        reader.close()
        self.sweep = sweeps.parse_sweep(frozen, f"study '{spec.study}'")
        self.studies = StudyStore(spec.url, spec.study, self.sweep)
        self.records = Records(self.studies)
        self.task = load_task_for(self.sweep)
        self.records.register(self.sweep, self.task.digest, self.task.objective, {})
        self._trials: dict[int, optuna.Trial] = {}
        names = self.sweep.search.objectives
        self._directions = search.directions(names, self.task)
        if names:
            self.records.set_once(DIRECTIONS, self._directions)
        # With several objectives no single score says that a trial is behind.
        alpha = 0.0 if names else self.sweep.search.racing
        self._race = ScoreRace(self.studies, self.records, self.task.objective, alpha)

    def run(self) -> None:
        """Loads the base model and works until no trial is pending, or the time is over.

        Raises:
            UserError: the model cannot be loaded, or is not the one the study began with.
        """
        from harness.training.evaluation import score
        from harness.training.packed.selection import make_trainer

        base = load_study_base(self.sweep, self.task, self.spec, self.records)
        decide = self.records.set_once
        record_model_facts(base.model, self.sweep.space, self.spec.workers, decide)
        sweep, engine = self.sweep, self.records.attributes().get("engine")
        trainer = make_trainer(base, self.task, sweep.training, sweep.engine, decide, engine)
        decide("token_notes", list(trainer.notes))

        def score_base(split: str, shots: tuple[Example, ...], rows: int) -> SplitScores:
            return score(base, self.task, split, shots=shots, batch_size=rows)

        self.work(trainer, self.baselines(score_base).step)

    def baselines(self, score: Scorer) -> BaselineJobs:
        """This worker's share of the baselines; `score` scores with the base model alone."""
        index, workers, over = self.spec.index, self.spec.workers, self._time_is_over
        return BaselineJobs(self.task, self.sweep, self.records, score, over, index, workers)

    def work(self, trainer: Trainer, idle: Callable[[], bool]) -> None:
        """Has a trainer run trials until none is pending, or the time is over.

        Args:
            trainer: pulls trials and yields their results.
            idle: does one piece of other work if there is any, and says whether it did.
        """
        with Heartbeat(self.studies.engine, self.spec.study, self.name, self.spec.parent):
            try:
                for result in trainer.train(self.ask(idle), self.report, self.race):
                    self.tell(result)
            finally:
                self.studies.fail_trials_of(self.name)

    def ask(self, idle: Callable[[], bool]) -> Iterator[TrialRequest | None]:
        """Claims trial after trial; plans the next stage when no worker has one left.

        Yields:
            A trial to train; None when the next trials depend on those that the trainer has.

        Args:
            idle: does one piece of other work if there is any, and says whether it did.
        """
        while True:
            if self._time_is_over():
                self._cancel_waiting("--minutes is over")
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
            if self._trials:
                yield None
                continue
            if self.studies.trials(TrialState.RUNNING):
                if not idle():
                    time.sleep(_POLL)
                continue
            if self._enqueue_next() == 0:
                while idle():
                    continue
                # Another worker may have planned a stage while this one was idle.
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
        size = len(self.task.examples(scores.split))
        return self._race.reason_to_stop(self._trials[number], scores, size)

    def tell(self, result: TrialResult) -> None:
        """Stores a result, in our tables first: a trial that Optuna calls complete has its row."""
        trial = self._trials.pop(result.number)
        self.records.add_result(result)
        attributes = {
            "proofs": list(result.proofs) or None,
            "inference_memory": result.cost.inference_memory or None,
            "changed": result.changed,
            "error": result.error,
        }
        for name, attribute in attributes.items():
            if attribute is not None:
                trial.set_user_attr(name, attribute)
        if result.outcome is Outcome.COMPLETE:
            if self._directions:
                trial.set_user_attr(LOSSES, search.losses(self._directions, result))
            value = result.scores["validation"].values[self.task.objective.name]
            self.studies.study.tell(trial, value)
        else:
            state = TrialState.PRUNED if result.outcome is Outcome.PRUNED else TrialState.FAIL
            self.studies.study.tell(trial, state=state)

    def _request(self, trial: optuna.Trial) -> TrialRequest | None:
        """What to train for a claimed trial; None if an earlier trial has its result already."""
        config = self.studies.config(trial)
        stage = Stage(trial.user_attrs["stage"])
        earlier = self.studies.find_duplicate(trial) if stage is Stage.SEARCH else None
        if earlier is not None:
            trial.set_user_attr("duplicate_of", earlier.number)
            if LOSSES in earlier.user_attrs:
                trial.set_user_attr(LOSSES, earlier.user_attrs[LOSSES])
            self.studies.study.tell(trial, earlier.values)
            return None
        self._trials[trial.number] = trial
        folder = self.spec.folder if stage is Stage.CONFIRM else None
        tested = stage in (Stage.CONFIRM, Stage.FULL)
        return TrialRequest(
            trial.number,
            config,
            splits=("validation", "test") if tested else ("validation",),
            readings=stage is Stage.SEARCH,
            adapter_dir=str(folder / "adapters" / f"{trial.number:04d}") if folder else None,
        )

    def _enqueue_next(self) -> int:
        results = self.records.read()
        finished = self.studies.trials(*(s for s in TrialState if s.is_finished()))
        ended = {trial.user_attrs["slot"] for trial in finished if not is_lost(trial)}
        context = PlanningContext(results, self.sweep, self.records.set_once, self._budget())
        return self.studies.enqueue(stages.next_trials(context, ended))

    def _budget(self) -> TimeBudget:
        spec = self.spec
        if spec.minutes is None:
            return TimeBudget(workers=spec.workers)
        spent = spec.spent + time.time() - spec.began
        return TimeBudget(spec.minutes * 60, spent, spec.workers)

    def _time_is_over(self) -> bool:
        budget = self._budget()
        return budget.spent > budget.total

    def _end_search_in_time(self) -> None:
        """Leaves the other stages their share of `--minutes`."""
        budget = self._budget()
        if math.isinf(budget.total) or budget.trials_that_fit(SEARCH_SHARE, 1.0) > 0:
            return
        waiting = self.studies.trials(TrialState.WAITING)
        if any(trial.user_attrs["stage"] == Stage.SEARCH.value for trial in waiting):
            self._cancel_waiting("--minutes leaves no more time for the search")

    def _cancel_waiting(self, reason: str) -> None:
        waiting = self.studies.trials(TrialState.WAITING)
        if waiting:
            stage = waiting[0].user_attrs["stage"]
            count = self.studies.cancel_waiting(reason)
            trials = "trial was" if count == 1 else "trials were"
            self.records.set_once(
                f"dropped.time.{stage}", [f"{stage}: {count} {trials} not run, {reason}"]
            )


def _main() -> int:
    """Runs the worker whose spec is the process's argument; returns the exit code."""
    # A terminated worker returns its trial, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        Worker(WorkerSpec.from_json(sys.argv[1])).run()
    except KeyboardInterrupt:
        return print_error("interrupted", 130, prefix="")
    except Exception as fault:
        return print_fault(fault)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
