"""Opens the Optuna study of a sweep, hands out its trials, and takes back those of dead workers.

Every trial is a *slot* that a stage owes (`search/7`, `confirm/<key>/<seed>`): it is enqueued,
then claimed by one worker, whoever is first. Knows nothing of training.
"""

import warnings
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL

from harness.errors import UserError
from harness.space import PARAMETERS
from harness.storage.cache import TrialCache
from harness.storage.sampling import pruner, sampler, turn
from harness.storage.tables import connect, tune
from harness.sweep import Sweep
from harness.trial import Stage, TrialConfig

optuna.logging.set_verbosity(optuna.logging.WARNING)

#: Why a trial that a dead worker held is told as failed; its slot is then owed again.
LOST: Final = "lost"
#: Why a trial that nobody claimed is told as failed; its slot is not owed again.
DROPPED: Final = "dropped"


class Slot(NamedTuple):
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


def url_of(folder: Path) -> str:
    """The URL of the SQLite file in a study's folder."""
    file = str((folder / "study.db").resolve())
    return URL.create("sqlite", database=file).render_as_string()


class Studies:
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
        """Opens the study."""
        self.engine = connect(url)
        options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        tune(self.storage.engine)
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

    def enqueue(self, slots: Iterable[Slot]) -> int:
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
            if slot.config is not None and self._sweep.space.holds(slot.config):
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
        for frozen in sorted(waiting, key=turn):
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

    def twin(self, trial: optuna.Trial) -> FrozenTrial | None:
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

    def release(self, worker: str) -> int:
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


def is_dropped(trial: FrozenTrial) -> bool:
    """Whether the trial was never run, for want of time."""
    error = str(trial.user_attrs.get("error", ""))
    return trial.state == TrialState.FAIL and error.startswith(DROPPED)


def drawn(trial: FrozenTrial) -> bool:
    """Whether its configuration is complete: parameters are written one by one."""
    return "config" in trial.user_attrs or set(PARAMETERS) <= set(trial.params)


def config_of(trial: FrozenTrial) -> TrialConfig:
    """What a trial that is `drawn` trains."""
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
    return config.with_(extras=str(noted.get("extras", "")))
