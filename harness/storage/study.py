"""Opens the Optuna study of a sweep, hands out its trials, and takes back those of dead workers.

Every trial is a *slot* that a stage owes (`search/7`, `confirm/<key>/<seed>`): it is enqueued,
then claimed by one worker, whoever is first. Knows nothing of training.

Optuna's sampler and pruner as a sweep sets them, and the order in which trials are taken.

Knows slots by their names, nothing of databases or training.

Optuna's cache of trials, made to hold also those that wait. Knows no stages, no workers.

Optuna reads every trial that has not ended anew from the database whenever somebody asks for the
trials: about eight times for each trial of a search. A trial that waits stays as it was enqueued
until a worker takes it, so its state is all that has to be asked for; else a study of n trials
reads of the order of n² of them.
"""

import copy
import hashlib
import math
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, or_, select

from harness.config.space import PARAMETERS
from harness.config.sweep import Sweep
from harness.errors import UserError
from harness.storage.schema import connect, set_pragmas
from harness.trial import Stage, TrialConfig


def queue_position(trial: FrozenTrial) -> tuple[int, int]:
    """The order of claims: search slots by their index.

    One that is run again comes before its successors, so that the sampler sees what it would have
    seen without the interruption.
    """
    stage, _, index = str(trial.user_attrs.get("slot", "")).partition("/")
    return (int(index), 0) if stage == Stage.SEARCH.value else (trial.number, 1)


#: Where the numbers of all other stages begin; the search's are its slots'.
_AFTER_SEARCH: Final = 1_000_000


class _InTurn(optuna.samplers.TPESampler):
    """TPE that sees trials in the order of their slots.

    Which kernel it draws from depends on the trials' numbers, and a trial that was lost and run
    again has a later one: a study that was interrupted would go another way.

    Attributes:
        others: further objectives.
    """

    others: tuple[str, ...] = ()

    def _sample(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        seen = _ByTurn(study, self.others)
        return super()._sample(cast("optuna.Study", seen), _renumbered(trial), search_space)


class _ByTurn:
    """A study whose trials bear the numbers of their slots.

    Args:
        study: as it is.
        others: further objectives. The sampler is shown a study of several then; for everybody
            else its value is the task's objective.
    """

    def __init__(self, study: optuna.Study, others: tuple[str, ...] = ()) -> None:
        self._study, self._others = study, others

    @property
    def directions(self) -> list[StudyDirection]:
        return [*self._study.directions, *[StudyDirection.MINIMIZE] * len(self._others)]

    def _is_multi_objective(self) -> bool:
        return len(self.directions) > 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **keywords: Any) -> list[FrozenTrial]:
        trials = [_renumbered(one) for one in self._study._get_trials(*args, **keywords)]
        if self._others:
            trials = [one for one in trials if _of_several(one, self._others)]
        return sorted(trials, key=lambda one: one.number)


def _of_several(twin: FrozenTrial, others: tuple[str, ...]) -> bool:
    """Gives a copy of a trial all its values; whether it can be compared with others."""
    if twin.state != TrialState.COMPLETE:
        return twin.state != TrialState.PRUNED
    losses = twin.user_attrs.get(LOSSES) or {}
    values = [*(twin.values or ()), *(losses.get(name, math.nan) for name in others)]
    if not all(map(math.isfinite, values)):
        return False
    twin.values = values
    return True


def _renumbered(trial: FrozenTrial) -> FrozenTrial:
    twin = copy.copy(trial)
    place, later = queue_position(trial)
    twin.number = place + later * _AFTER_SEARCH
    return twin


def sampler(sweep: Sweep, slot: str) -> optuna.samplers.BaseSampler:
    """The sampler of a slot, seeded by its name."""
    digest = hashlib.sha256(f"{sweep.seed}/{slot}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if sweep.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = _InTurn(
            seed=seed,
            n_startup_trials=sweep.search.startup,
            multivariate=True,
            constant_liar=True,
        )
    found.others = sweep.search.objectives
    return found


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The pruner that a sweep names."""
    search = sweep.search
    if search.pruner == "none" or search.objectives or sweep.training.readings == 0:
        return optuna.pruners.NopPruner()
    if search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=search.pruner_startup, n_warmup_steps=0)


#: Above any trial's id; the column holds 32 bits.
_HIGHEST: Final = 2**31 - 1
#: So many trials are read by their ids at most; more are read as Optuna does.
_NAMED: Final = 500
_UNFINISHED: Final = (TrialState.WAITING, TrialState.RUNNING)


class TrialCache(_CachedStorage):
    """What Optuna wraps a database in, reading a waiting trial once.

    Args:
        backend: the database.
    """

    def __init__(self, backend: RDBStorage) -> None:
        super().__init__(backend)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            changed = self._changed(study_id, study)
            if not changed:
                return
            if len(changed) <= _NAMED:
                trials = self._backend._get_trials(study_id, None, changed, _HIGHEST)
                self._add_trials_to_cache(study_id, trials)
                for trial in trials:
                    if not trial.state.is_finished():
                        study.unfinished_trial_ids.add(trial._trial_id)
                        continue
                    study.unfinished_trial_ids.discard(trial._trial_id)
                    study.last_finished_trial_id = max(
                        study.last_finished_trial_id, trial._trial_id
                    )
                return
        super()._read_trials_from_remote_storage(study_id)

    def _changed(self, study_id: int, study: _StudyInfo) -> set[int]:
        """Ids of trials that may not be as the cache has them."""
        chosen = select(TrialModel.trial_id, TrialModel.state).where(
            TrialModel.study_id == study_id,
            or_(
                TrialModel.state.in_(_UNFINISHED),
                TrialModel.trial_id > study.last_finished_trial_id,
            ),
        )
        with self._backend.engine.connect() as connection:
            states = {row.trial_id: row.state for row in connection.execute(chosen)}
        changed = study.unfinished_trial_ids - states.keys()  # they have ended since
        for trial_id, state in states.items():
            held = self._held(trial_id)
            if not (held is state is TrialState.WAITING):
                changed.add(trial_id)
        return changed

    def _held(self, trial_id: int) -> TrialState | None:
        """A trial's state in the cache; None where it is not there."""
        if trial_id not in self._trial_id_to_study_id_and_number:
            return None
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return self._studies[study_id].trials[number].state


#: The user attribute of a trial that has its other objectives, each to be made small.
LOSSES: Final = "losses"

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: Why a trial that a dead worker held is told as failed; its slot is then owed again.
LOST: Final = "lost"
#: Why a trial that nobody claimed is told as failed; its slot is not owed again.
DROPPED: Final = "dropped"


class PlannedTrial(NamedTuple):
    """A trial that a stage owes.

    Attributes:
        name: unique within the study.
        stage: the stage that owes it.
        seed: seed of the training run.
        config: what to train; None leaves the choice to the sampler. One that lies outside the
            search space, such as full fine-tuning, is written down instead of suggested.
        budget: share of the training steps.
    """

    name: str
    stage: Stage
    seed: int
    config: TrialConfig | None = None
    budget: float = 1.0


def study_url(folder: Path) -> str:
    """The URL of the SQLite file in a study's folder."""
    file = str((folder / "study.db").resolve())
    return URL.create("sqlite", database=file).render_as_string()


class StudyStore:
    """One Optuna study as the stages and workers use it.

    Args:
        url: SQLAlchemy URL of the database.
        name: the study's name.
        sweep: what it runs, for sampler, pruner and space; None to read only.
        direction: `maximize` or `minimize`.
        create: make the study if it is missing.

    Raises:
        UserError: there is no such study, or no such database.
    """

    def __init__(
        self,
        url: str,
        name: str,
        sweep: Sweep | None = None,
        direction: Literal["maximize", "minimize"] = "maximize",
        create: bool = False,
    ) -> None:
        self.engine = connect(url)
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        set_pragmas(self.storage.engine)
        cache = TrialCache(self.storage)
        self._sweep = sweep
        try:
            if create:
                self.study = optuna.create_study(
                    study_name=name, storage=cache, direction=direction, load_if_exists=True
                )
            else:
                self.study = optuna.load_study(study_name=name, storage=cache)
        except KeyError:
            raise UserError(f"{url}: holds no study '{name}'") from None
        if sweep is not None:
            self.study.pruner = pruner(sweep)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in those states (all, where none is named), without superseded ones."""
        found = self.study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in found if "slot" in trial.user_attrs]

    def enqueue(self, slots: Iterable[PlannedTrial]) -> int:
        """Enqueues those slots that no trial holds yet (lost ones are owed again).

        Returns:
            How many were enqueued.
        """
        assert self._sweep is not None
        held = {t.user_attrs["slot"] for t in self.trials() if not is_lost(t)}
        lost = {t.user_attrs["slot"]: t for t in self.trials() if is_lost(t)}
        count = 0
        for slot in slots:
            if slot.name in held:
                continue
            fixed: dict[str, Any] = {}
            noted: dict[str, Any] = {
                "slot": slot.name,
                "stage": slot.stage.value,
                "seed": slot.seed,
                "budget": slot.budget,
            }
            if slot.config is not None and self._sweep.space.contains(slot.config):
                fixed = self._sweep.space.parameters(slot.config)
            elif slot.config is not None:
                noted["config"] = asdict(slot.config)
            elif slot.name in lost:
                fixed = dict(lost[slot.name].params)  # what its worker was on is run again
            self.study.enqueue_trial(fixed, user_attrs=noted)
            count += 1
        return count

    def claim(self, worker: str) -> optuna.Trial | None:
        """Takes the next waiting trial, atomically, or None where none waits.

        What `Study.ask` does, except that it never makes a trial nobody owes.
        """
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for frozen in sorted(waiting, key=queue_position):
            try:
                taken = self.storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
            except optuna.exceptions.UpdateFinishedTrialError:
                taken = False
            if not taken:
                continue
            # Only now: whoever comes too late must not put its name on another's trial.
            self.storage.set_trial_user_attr(frozen._trial_id, "worker", worker)
            if self._superseded(frozen):
                self._fail(frozen, "superseded: another trial holds its slot")
                continue
            if self._sweep is not None:
                # Seeded by the slot, so that what the sampler suggests depends on the trials
                # before it and not on which process asks, or how often it was restarted.
                self.study.sampler = sampler(self._sweep, str(frozen.user_attrs["slot"]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.Trial(self.study, frozen._trial_id)
        return None

    def config(self, trial: optuna.Trial) -> TrialConfig:
        """What the claimed trial is to train; samples what its slot left open."""
        assert self._sweep is not None
        attributes = trial.user_attrs
        if "config" in attributes:
            return TrialConfig(**attributes["config"])
        config = self._sweep.space.suggest(
            trial, seed=int(attributes["seed"]), budget=float(attributes["budget"])
        )
        if config.learning_rate != trial.params["learning_rate"]:  # a variant's own range
            trial.set_user_attr("learning_rate", config.learning_rate)
        if config.extras:
            trial.set_user_attr("extras", config.extras)
        return config

    def find_duplicate(self, trial: optuna.Trial) -> FrozenTrial | None:
        """A complete search trial with the same parameters, if the sampler repeated itself."""
        for other in self.trials(TrialState.COMPLETE):
            same = other.params == trial.params and other.number != trial.number
            if same and other.user_attrs["stage"] == Stage.SEARCH.value:
                return other
        return None

    def cancel_waiting(self, reason: str) -> int:
        """Fails as dropped all trials that nobody has claimed yet; returns how many."""
        waiting = self.trials(TrialState.WAITING)
        return sum(self._fail(trial, f"{DROPPED}: {reason}") for trial in waiting)

    def fail_trials_of(self, worker: str) -> int:
        """Fails the running trials of a worker as lost, so that they are owed again."""
        held = [
            trial
            for trial in self.trials(TrialState.RUNNING)
            if trial.user_attrs.get("worker") == worker
        ]
        return sum(self._fail(trial, f"{LOST}: its worker has gone") for trial in held)

    def release_unnamed(self, seconds: float) -> int:
        """Fails as lost the trials taken so long ago whose worker died before it named itself."""
        latest = datetime.now() - timedelta(seconds=seconds)  # noqa: DTZ005, as Optuna writes it
        held = [
            trial
            for trial in self.trials(TrialState.RUNNING)
            if "worker" not in trial.user_attrs
            and trial.datetime_start is not None
            and trial.datetime_start <= latest
        ]
        return sum(self._fail(trial, f"{LOST}: its worker has gone") for trial in held)

    def close(self) -> None:
        """Closes all connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self.engine.dispose()

    def _superseded(self, frozen: FrozenTrial) -> bool:
        slot = frozen.user_attrs.get("slot")
        return slot is None or any(
            other.number < frozen.number
            and other.user_attrs["slot"] == slot
            and other.state != TrialState.WAITING
            and not is_lost(other)
            for other in self.trials()
        )

    def _fail(self, trial: FrozenTrial, reason: str) -> bool:
        try:
            self.storage.set_trial_user_attr(trial._trial_id, "error", reason)
            return bool(self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the trial ended with its worker, or was never run: then its slot is owed again."""
    error = str(trial.user_attrs.get("error", ""))
    return trial.state == TrialState.FAIL and error.startswith((LOST, "superseded"))


def is_cancelled(trial: FrozenTrial) -> bool:
    """Whether the trial was never run, for want of time."""
    error = str(trial.user_attrs.get("error", ""))
    return trial.state == TrialState.FAIL and error.startswith(DROPPED)


def has_full_config(trial: FrozenTrial) -> bool:
    """Whether its configuration is complete: parameters are written one by one."""
    return "config" in trial.user_attrs or set(PARAMETERS) <= set(trial.params)


def config_of(trial: FrozenTrial) -> TrialConfig:
    """What a trial that is `has_full_config` trains."""
    noted, chosen = trial.user_attrs, trial.params
    if "config" in noted:
        return TrialConfig(**noted["config"])
    config = TrialConfig(
        variant=str(chosen["variant"]),
        rank=int(chosen["rank"]),
        alpha=float(chosen["alpha_ratio"]) * int(chosen["rank"]),
        dropout=float(chosen["dropout"]),
        target_modules=str(chosen["target_modules"]),
        learning_rate=float(noted.get("learning_rate", chosen["learning_rate"])),
        seed=int(noted["seed"]),
        budget=float(noted["budget"]),
    )
    return config.replace(extras=str(noted.get("extras", "")))
