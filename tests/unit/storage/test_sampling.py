"""What the sampler is shown: trials by their slots, and all objectives where there are several."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from harness.config.sweep import Sweep, load
from harness.storage.study import Studies, _ByTurn, pruner, url_of
from harness.study.objectives import LOSSES
from harness.study.stages import search_slots

TRIALS = 60
SPACE = ["space.variant=[lora]", "space.dropout=[0.0]", "space.alpha_ratio=[2.0]"]
ONE = [*SPACE, f"search.trials={TRIALS}"]
SEVERAL = [*ONE, "search.objectives=[parameters]"]


def searched(folder: Path, sweep: Sweep) -> list[optuna.trial.FrozenTrial]:
    """A search whose quality rises a little with the rank, and whose cost is the rank."""
    studies = Studies(url_of(folder), "study", sweep, create=True)
    studies.enqueue(search_slots(sweep))
    while (trial := studies.claim("w")) is not None:
        config = studies.config(trial)
        off = abs(np.log10(config.learning_rate / 5e-3))
        trial.set_user_attr(LOSSES, {"parameters": float(config.rank)})
        studies.study.tell(trial, 0.9 + 0.01 * np.log2(config.rank) - 0.1 * off)
    found = studies.trials(TrialState.COMPLETE)
    studies.close()
    return found


def test_the_sampler_follows_the_front_of_all_objectives(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "several").mkdir()
    one, several = (
        [t.params["rank"] for t in searched(tmp_path / name, load("ner_medical", given))[30:]]
        for name, given in (("one", ONE), ("several", SEVERAL))
    )
    # By quality alone high ranks are what is looked for; on the front every rank is.
    assert np.mean(np.log2(one)) > 4 > np.mean(np.log2(several))
    assert len(set(several)) >= 5
    assert len({r for r in several if r <= 4}) >= 2


def test_values_in_the_database_are_the_task_s_objective_alone(tmp_path: Path) -> None:
    found = searched(tmp_path, load("ner_medical", [*SEVERAL, "search.trials=12"]))
    assert {len(trial.values) for trial in found} == {1}


def test_the_sampler_is_shown_all_values_and_nothing_that_has_not_all(tmp_path: Path) -> None:
    sweep = load("ner_medical", [*SEVERAL, "search.trials=4"])
    studies = Studies(url_of(tmp_path), "study", sweep, create=True)
    studies.enqueue(search_slots(sweep))
    for number, noted in enumerate(({"parameters": 8.0}, {}, {"parameters": 2.0}, None)):
        trial = studies.claim("w")
        assert trial is not None
        studies.config(trial)
        if noted is None:
            studies.study.tell(trial, state=TrialState.PRUNED)
            continue
        trial.set_user_attr(LOSSES, noted)
        studies.study.tell(trial, 0.5 + number)
    seen = _ByTurn(studies.study, sweep.search.objectives)
    assert seen.directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    assert seen._is_multi_objective()
    assert [trial.values for trial in seen._get_trials()] == [[0.5, 8.0], [2.5, 2.0]]
    # What is stored is as it was.
    assert [trial.values for trial in studies.trials(TrialState.COMPLETE)] == [[0.5], [1.5], [2.5]]
    studies.close()


@pytest.mark.parametrize("name", ["median", "halving"])
def test_nothing_is_pruned_by_one_of_several_objectives(name: str) -> None:
    one = load("ner_medical", [f"search.pruner={name}"])
    several = load("ner_medical", [f"search.pruner={name}", "search.objectives=[parameters]"])
    assert not isinstance(pruner(one), optuna.pruners.NopPruner)
    assert isinstance(pruner(several), optuna.pruners.NopPruner)
