"""The Optuna study of a sweep: plans, claims and fails its trials, and samples for them.

Every trial is planned by a stage under a name (`search/7`, `confirm/<key>/<seed>`; Optuna's user
attribute `slot`): it is enqueued, then claimed by one worker, whichever is first.

All uses of what Optuna does not document stand in this module, each beside the public behaviour
that it replaces; `test_optunas_private_behaviour` fails first where Optuna changes.
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

#: The user attribute of a trial with its further objectives, each to be minimized.
LOSSES: Final = "losses"
#: The attribute of a study with the directions of its further objectives by name.
DIRECTIONS: Final = "objectives"

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: How the error of a trial begins whose worker died; the trial is planned again.
LOST: Final = "lost"
#: How the error of a trial begins that no worker claimed in time; it is not planned again.
DROPPED: Final = "dropped"


class PlannedTrial(NamedTuple):
    """A trial that a stage plans.

    Attributes:
        name: unique within the study.
        stage: the stage that plans it.
        seed: seed of the training run.
        config: what to train; None leaves the choice to the sampler. One that lies outside the
            search space, such as full fine-tuning, is stored instead of suggested.
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


def queue_position(trial: FrozenTrial) -> tuple[int, int]:
    """The order of claims: search trials by their index, then all others by number.

    A search trial that is run again comes before its successors, so that the sampler sees what it
    would have seen without the interruption.
    """
    stage, _, index = str(trial.user_attrs.get("slot", "")).partition("/")
    return (int(index), 0) if stage == Stage.SEARCH.value else (trial.number, 1)


#: Where the numbers of all other stages begin for the sampler; the search's are its indices.
_AFTER_SEARCH: Final = 1_000_000


class SlotOrderSampler(optuna.samplers.TPESampler):
    """TPE that sees trials in the order in which they were planned.

    Which kernel TPE samples from depends on the trials' numbers, and a trial that was lost and run
    again has a later one: without this, an interrupted study would continue differently.

    Replaces a private method: `TPESampler` has no public way to choose the trials that it learns
    from. `sample_relative` and `sample_independent` both end in `_sample(study, trial, space)`.

    Attributes:
        objectives: names of further objectives.
    """

    objectives: tuple[str, ...] = ()

    def _sample(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        view = StudyInSlotOrder(study, self.objectives)
        return super()._sample(cast("optuna.Study", view), _renumbered(trial), search_space)


class StudyInSlotOrder:
    """A study as the sampler is to see it: numbers by plan, values of all objectives.

    TPE reads trials through the private `Study._get_trials` (publicly: `get_trials`, with a copy
    of each) and asks `Study._is_multi_objective` (publicly: `len(directions) > 1`).

    Args:
        study: as it is.
        objectives: names of further objectives. Everyone but the sampler sees a study with one,
            the task's.
    """

    def __init__(self, study: optuna.Study, objectives: tuple[str, ...] = ()) -> None:
        self._study, self._objectives = study, objectives

    @property
    def directions(self) -> list[StudyDirection]:
        """Of all objectives, the task's first."""
        return [*self._study.directions, *[StudyDirection.MINIMIZE] * len(self._objectives)]

    def _is_multi_objective(self) -> bool:
        return len(self.directions) > 1

    def __getattr__(self, name: str) -> Any:
        """All else as the study has it."""
        return getattr(self._study, name)

    def _get_trials(self, *args: Any, **keywords: Any) -> list[FrozenTrial]:
        trials = [_renumbered(trial) for trial in self._study._get_trials(*args, **keywords)]
        if self._objectives:
            trials = [trial for trial in trials if _add_losses(trial, self._objectives)]
        return sorted(trials, key=lambda trial: trial.number)


def _add_losses(trial: FrozenTrial, objectives: tuple[str, ...]) -> bool:
    """Gives a copy of a trial the values of all objectives; False if they are not all known."""
    if trial.state != TrialState.COMPLETE:
        return trial.state != TrialState.PRUNED
    losses = trial.user_attrs.get(LOSSES) or {}
    values = [*(trial.values or ()), *(losses.get(name, math.nan) for name in objectives)]
    if not all(map(math.isfinite, values)):
        return False
    trial.values = values
    return True


def _renumbered(trial: FrozenTrial) -> FrozenTrial:
    renumbered = copy.copy(trial)
    position, later = queue_position(trial)
    renumbered.number = position + later * _AFTER_SEARCH
    return renumbered


def sampler(sweep: Sweep, slot: str) -> optuna.samplers.BaseSampler:
    """The sampler of a planned trial, seeded by its name."""
    digest = hashlib.sha256(f"{sweep.seed}/{slot}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    if sweep.search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        tpe = SlotOrderSampler(
            seed=seed, n_startup_trials=sweep.search.startup, multivariate=True, constant_liar=True
        )
    tpe.objectives = sweep.search.objectives
    return tpe


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The pruner that a sweep names."""
    search = sweep.search
    if search.pruner == "none" or search.objectives or sweep.training.readings == 0:
        return optuna.pruners.NopPruner()
    if search.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.MedianPruner(n_startup_trials=search.pruner_startup, n_warmup_steps=0)


#: Above any trial's id; the column holds 32 bits.
_MAX_TRIAL_ID: Final = 2**31 - 1
#: At most so many trials are read by their ids; more are read as Optuna does.
_MAX_IDS: Final = 500
_UNFINISHED: Final = (TrialState.WAITING, TrialState.RUNNING)


class TrialCache(_CachedStorage):
    """Optuna's cache of trials, which also caches waiting trials.

    Publicly `RDBStorage` is all that a study needs, and Optuna wraps it in `_CachedStorage`. That
    reads every unfinished trial again whenever trials are requested, about eight times for each
    trial of a search. A waiting trial does not change until a worker claims it, so that its state
    is enough; otherwise a search of n trials reads of the order of n² of them (`benchmarks/LOG.md`
    has the cost).
    """

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        """Updates the cache, as Optuna does before it returns trials."""
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyInfo())
            changed = self._changed_ids(study_id, study)
            if not changed:
                return
            if len(changed) <= _MAX_IDS:
                trials = self._backend._get_trials(study_id, None, changed, _MAX_TRIAL_ID)
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

    def _changed_ids(self, study_id: int, study: _StudyInfo) -> set[int]:
        """Ids of trials that may differ from the cache."""
        query = select(TrialModel.trial_id, TrialModel.state).where(
            TrialModel.study_id == study_id,
            or_(
                TrialModel.state.in_(_UNFINISHED),
                TrialModel.trial_id > study.last_finished_trial_id,
            ),
        )
        with self._backend.engine.connect() as connection:
            states = {row.trial_id: row.state for row in connection.execute(query)}
        changed = study.unfinished_trial_ids - states.keys()  # they have ended since
        for trial_id, state in states.items():
            cached = self._cached_state(trial_id)
            if not (cached is state is TrialState.WAITING):
                changed.add(trial_id)
        return changed

    def _cached_state(self, trial_id: int) -> TrialState | None:
        """A trial's state in the cache; None where it is not cached."""
        if trial_id not in self._trial_id_to_study_id_and_number:
            return None
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        return self._studies[study_id].trials[number].state


class StudyStore:
    """One Optuna study as stages and workers use it.

    Args:
        url: SQLAlchemy URL of the database.
        name: the study's name.
        sweep: what it runs, for sampler, pruner and space; None to read only.
        direction: `maximize` or `minimize`.
        create: create the study if it is missing.

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
        trials = self.study.get_trials(deepcopy=False, states=states or None)
        return [trial for trial in trials if "slot" in trial.user_attrs]

    def enqueue(self, planned: Iterable[PlannedTrial]) -> int:
        """Enqueues planned trials that do not exist yet, or were lost.

        Returns:
            How many were enqueued.
        """
        assert self._sweep is not None
        trials = self.trials()
        existing = {trial.user_attrs["slot"] for trial in trials if not is_lost(trial)}
        lost = {trial.user_attrs["slot"]: trial for trial in trials if is_lost(trial)}
        count = 0
        for plan in planned:
            if plan.name in existing:
                continue
            params: dict[str, Any] = {}
            attributes: dict[str, Any] = {"slot": plan.name, "stage": plan.stage.value}
            attributes |= {"seed": plan.seed, "budget": plan.budget}
            if plan.config is not None and self._sweep.space.contains(plan.config):
                params = self._sweep.space.parameters(plan.config)
            elif plan.config is not None:
                attributes["config"] = asdict(plan.config)
            elif plan.name in lost:
                params = dict(lost[plan.name].params)  # what was sampled for it is run again
            self.study.enqueue_trial(params, user_attrs=attributes)
            count += 1
        return count

    def claim(self, worker: str) -> optuna.Trial | None:
        """Takes the next waiting trial, atomically; None where none waits.

        Replaces `Study.ask`, which takes waiting trials by number and creates one where none
        waits. Like it, sets the state of `FrozenTrial._trial_id` and makes a `Trial` of that id.
        """
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for frozen in sorted(waiting, key=queue_position):
            try:
                taken = self.storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
            except optuna.exceptions.UpdateFinishedTrialError:
                taken = False
            if not taken:
                continue
            # Only now: a worker that comes too late must not put its name on another's trial.
            self.storage.set_trial_user_attr(frozen._trial_id, "worker", worker)
            if self._superseded(frozen):
                self._fail(frozen, "superseded: another trial holds its slot")
                continue
            if self._sweep is not None:
                # Seeded by the name, so that what is sampled depends on the trials before it and
                # not on which process samples, or how often it was restarted.
                self.study.sampler = sampler(self._sweep, str(frozen.user_attrs["slot"]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.Trial(self.study, frozen._trial_id)
        return None

    def config(self, trial: optuna.Trial) -> TrialConfig:
        """What the claimed trial is to train; samples what its plan left open."""
        assert self._sweep is not None
        attributes = trial.user_attrs
        if "config" in attributes:
            return TrialConfig(**attributes["config"])
        config = self._sweep.space.suggest(
            trial, seed=int(attributes["seed"]), budget=float(attributes["budget"])
        )
        if config.learning_rate != trial.params["learning_rate"]:  # each variant has its range
            trial.set_user_attr("learning_rate", config.learning_rate)
        if config.extras:
            trial.set_user_attr("extras", config.extras)
        return config

    def find_duplicate(self, trial: optuna.Trial) -> FrozenTrial | None:
        """A complete search trial with the same parameters, if the sampler repeated itself."""
        for earlier in self.trials(TrialState.COMPLETE):
            same = earlier.params == trial.params and earlier.number != trial.number
            if same and earlier.user_attrs["stage"] == Stage.SEARCH.value:
                return earlier
        return None

    def cancel_waiting(self, reason: str) -> int:
        """Fails all waiting trials as dropped; returns how many."""
        waiting = self.trials(TrialState.WAITING)
        return sum(self._fail(trial, f"{DROPPED}: {reason}") for trial in waiting)

    def fail_trials_of(self, worker: str) -> int:
        """Fails the running trials of a worker as lost, so that they are run again."""
        running = self.trials(TrialState.RUNNING)
        return self._lose(t for t in running if t.user_attrs.get("worker") == worker)

    def fail_unnamed_trials(self, seconds: float) -> int:
        """Fails as lost what a worker claimed so long ago and died before it wrote its name."""
        latest = datetime.now() - timedelta(seconds=seconds)  # noqa: DTZ005, as Optuna writes it
        return self._lose(
            trial
            for trial in self.trials(TrialState.RUNNING)
            if "worker" not in trial.user_attrs
            and trial.datetime_start is not None
            and trial.datetime_start <= latest
        )

    def _lose(self, trials: Iterable[FrozenTrial]) -> int:
        return sum(self._fail(trial, f"{LOST}: its worker has gone") for trial in trials)

    def close(self) -> None:
        """Closes all connections."""
        self.storage.remove_session()
        self.storage.engine.dispose()
        self.engine.dispose()

    def _superseded(self, frozen: FrozenTrial) -> bool:
        """Whether an earlier trial with the same plan runs or has ended."""
        slot = frozen.user_attrs.get("slot")
        return slot is None or any(
            trial.number < frozen.number
            and trial.user_attrs["slot"] == slot
            and trial.state != TrialState.WAITING
            and not is_lost(trial)
            for trial in self.trials()
        )

    def _fail(self, trial: FrozenTrial, reason: str) -> bool:
        try:
            self.storage.set_trial_user_attr(trial._trial_id, "error", reason)
            return bool(self.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the trial's worker died, or another trial had its plan: it is planned again."""
    return _failed_as(trial, LOST, "superseded")


def is_cancelled(trial: FrozenTrial) -> bool:
    """Whether the trial was dropped before it ran, for lack of time."""
    return _failed_as(trial, DROPPED)


def _failed_as(trial: FrozenTrial, *prefixes: str) -> bool:
    error = str(trial.user_attrs.get("error", ""))
    return trial.state == TrialState.FAIL and error.startswith(prefixes)


def has_full_config(trial: FrozenTrial) -> bool:
    """Whether its configuration is complete: parameters are sampled and stored one by one."""
    return "config" in trial.user_attrs or set(PARAMETERS) <= set(trial.params)


def config_of(trial: FrozenTrial) -> TrialConfig:
    """What a trial trains; `has_full_config` has to be true."""
    attributes, params = trial.user_attrs, trial.params
    if "config" in attributes:
        return TrialConfig(**attributes["config"])
    config = TrialConfig(
        variant=str(params["variant"]),
        rank=int(params["rank"]),
        alpha=float(params["alpha_ratio"]) * int(params["rank"]),
        dropout=float(params["dropout"]),
        target_modules=str(params["target_modules"]),
        learning_rate=float(attributes.get("learning_rate", params["learning_rate"])),
        seed=int(attributes["seed"]),
        budget=float(attributes["budget"]),
    )
    return config.replace(extras=str(attributes.get("extras", "")))
