"""Optuna's cache of trials, made to hold also those that wait. Knows no stages, no workers.

Optuna reads every trial that has not ended anew from the database whenever somebody asks for the
trials: about eight times for each trial of a search. A trial that waits stays as it was enqueued
until a worker takes it, so its state is all that has to be asked for; else a study of n trials
reads of the order of n² of them.
"""

from typing import Final

from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState
from sqlalchemy import or_, select

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
        """Reads nothing yet."""
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
