import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.results import METRIC_COLUMNS, Objective
from harness.storage import overview
from harness.storage.overview import summaries
from harness.storage.records import Records, read_study
from harness.storage.schema import ScoresRow, StudyRow
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.trial import Cost, Measurement, Outcome, SplitScores, Stage, TrialConfig, TrialResult

SWEEP = load_sweep("ner_medical", ["search.trials=4"])
OBJECTIVE = Objective("entity_f1", "maximize", 0.02, "f1", ("A", "B"), 100.0, "points of F1")
CONFIG = TrialConfig("lora", 4, 8.0, 0.0, "qv", 5e-3, seed=1)


def _scores(split, rows):
    ids = tuple(f"{split}-{i}" for i in range(len(rows)))
    value = float(OBJECTIVE.value(np.sum(rows, axis=0)))
    texts = tuple("A: x" for _ in rows)
    flags = tuple(i == 0 for i in range(len(rows)))
    return SplitScores(split, ids, texts, flags, tuple(rows), {"entity_f1": value})


@pytest.fixture
def records(tmp_path):
    studies = StudyStore(study_url(tmp_path / "made"), "made", SWEEP, create=True)
    made = Records(studies)
    made.register(SWEEP, "digest", OBJECTIVE, {"python": "3"})
    yield made
    studies.close()


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "made").mkdir()


def _run(records, stage=Stage.CONFIRM, tell=True):
    slot = PlannedTrial(f"{stage.value}/{CONFIG.key}/1", stage, 1, CONFIG)
    records.studies.enqueue([slot])
    trial = records.studies.claim("w")
    records.studies.config(trial)
    rows = ((1.0, 0.0, 1.0, 0.0, 0.0, 0.0), (2.0, 1.0, 0.0, 1.0, 1.0, 0.0))
    result = TrialResult(
        trial.number,
        Outcome.COMPLETE,
        {split: _scores(split, rows) for split in ("validation", "test")},
        (Measurement(5, 0.5, 1.25, None, 2.0, 300),),
        Cost(3.0, 1.0, 300, 1234, 10**6),
    )
    records.add_result(result)
    if tell:
        records.studies.study.tell(trial, result.scores["validation"].values["entity_f1"])
    return trial, result


def test_what_is_stored_is_read_back(records, tmp_path):
    trial, result = _run(records)
    found = read_study("made", tmp_path)
    row = found.trials.iloc[0]
    assert (row["number"], row["stage"], row["state"]) == (trial.number, "confirm", "complete")
    assert row["key"] == CONFIG.key
    assert row["value"] == result.scores["validation"].values["entity_f1"]
    assert row["test"] == result.scores["test"].values["entity_f1"]
    statistics = found.statistics(trial.number, "test")
    assert list(statistics.columns) == list(OBJECTIVE.columns)
    assert OBJECTIVE.value(statistics.sum().to_numpy()) == row["test"]
    assert found.examples["unparsed"].sum() == 2
    assert found.costs.iloc[0]["parameters"] == 1234
    assert found.measurements.iloc[0]["loss"] == 1.25
    assert found.objective == OBJECTIVE
    assert found.sweep["search"]["trials"] == 4


def test_values_of_all_metrics_are_read_back(records):
    trial, result = _run(records)
    beside = {"exact_match": 0.25, "rougeL": float("nan")}
    scores = _scores("test", ((1.0, 0.0, 1.0, 0.0, 0.0, 0.0),))
    records.add_baseline("dictionary", dataclasses.replace(scores, values=beside))
    found = records.read().metrics
    assert tuple(found.columns) == METRIC_COLUMNS
    own = found[found["trial"] == trial.number].set_index("split")["value"]
    assert own.to_dict() == {
        split: result.scores[split].values["entity_f1"] for split in ("validation", "test")
    }
    bare = found[found["baseline"] == "dictionary"].set_index("metric")
    assert bare["trial"].tolist() == [-1, -1]
    assert bare.loc["exact_match", ["split", "value"]].tolist() == ["test", 0.25]
    assert np.isnan(bare.loc["rougeL", "value"])


def test_statistics_of_many_classes_are_kept_without_their_zeros(records):
    rng = np.random.default_rng(0)
    wide = np.zeros((200, 231))
    wide[np.arange(200), rng.integers(0, 231, 200)] = 0.25
    wide[3] = 0.0
    narrow = rng.poisson(1.0, (200, 6)) + 0.5
    for name, table in (("wide", wide), ("narrow", narrow), ("wide", wide[::-1])):
        ids, texts = tuple(map(str, range(200))), ("",) * 200
        rows = tuple(map(tuple, table.tolist()))
        scores = SplitScores("test", ids, texts, (False,) * 200, rows, {})
        records.add_baseline(name, scores)
    with Session(records.studies.engine) as session:
        read = {row.baseline: row.statistics for row in session.scalars(select(ScoresRow))}
        size = dict(
            session.execute(text("select baseline, length(statistics) from harness_scores")).all()
        )
    assert (read["wide"] == wide[::-1]).all()
    assert (read["narrow"] == narrow).all()
    assert size["wide"] < 200 * 231 * 4 / 10  # "0.0," for each number if it were written out


def test_rows_that_were_written_out_are_read_too(records):
    _run(records)
    plain = "[[1.0, 0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]"
    with Session(records.studies.engine) as session, session.begin():
        session.execute(text("update harness_scores set statistics = :rows"), {"rows": plain})
    assert records.read().statistics(0, "test").to_numpy().tolist() == [
        [1, 0, 1, 0, 0, 0],
        [0] * 6,
    ]


def test_a_trial_whose_parameters_are_still_being_written_is_passed_over(records):
    records.studies.enqueue([PlannedTrial("search/0", Stage.SEARCH, 0)])
    trial = records.studies.claim("w")
    trial.suggest_categorical("rank", SWEEP.space.rank)  # as far as another process may see it
    assert records.read().trials.empty
    assert overview.study_progress(records.studies).running == (f"#{trial.number} being sampled",)
    config = records.studies.config(trial)
    assert list(records.read().trials["state"]) == ["running"]
    assert (
        f"r={config.rank} {config.target_modules}"
        in overview.study_progress(records.studies).running[0]
    )


def test_storing_twice_keeps_one(records):
    _, result = _run(records, tell=False)
    records.add_result(result)
    found = records.read()
    assert len(found.costs) == 1
    assert len(found.examples) == 4


def test_a_killed_worker_leaves_no_score_behind(records):
    # Stored, but the worker died before Optuna was told: the trial is run again and counts once.
    _run(records, tell=False)
    records.studies.fail_trials_of("w")
    assert list(records.read().trials["state"]) == ["lost"]
    _run(records)
    found = records.read()
    assert sorted(found.trials["state"]) == ["complete", "lost"]
    assert found.trials.loc[found.trials["state"] == "lost", "test"].isna().all()


def test_the_first_decision_holds(records):
    assert records.set_once("finalists", ["a"]) == ["a"]
    assert records.set_once("finalists", ["b"]) == ["a"]
    records.set_once("dropped.ablation", ["no room"])
    records.set_once("dropped.confirmation", ["no time"])
    assert records.attributes()["dropped"] == ["no room", "no time"]


def test_baselines_are_kept_apart_from_trials(records):
    rows = ((0.0, 0.0, 2.0, 0.0, 0.0, 1.0),)
    records.add_baseline("base_5_shot", _scores("test", rows))
    records.add_baseline("base_5_shot", _scores("test", rows))
    found = records.read()
    assert records.baselines() == {("base_5_shot", "test")}
    assert list(found.baselines["name"]) == ["base_5_shot"]
    assert found.examples.empty


def test_another_sweep_or_task_is_refused_and_the_difference_named(records):
    records.register(SWEEP, "digest", OBJECTIVE, {})
    with pytest.raises(UserError, match=r"search\.trials was 4, is 5"):
        records.register(load_sweep("ner_medical", ["search.trials=5"]), "digest", OBJECTIVE, {})
    with pytest.raises(UserError, match="another version of task"):
        records.register(SWEEP, "other", OBJECTIVE, {})
    records.register(
        load_sweep("ner_medical", ["search.trials=4", "minutes=3"]), "digest", OBJECTIVE, {}
    )


def test_another_schema_is_refused(records, tmp_path):
    with Session(records.studies.engine) as session, session.begin():
        session.execute(update(StudyRow).values(schema_number=99))
    with pytest.raises(UserError, match="written with schema 99"):
        read_study("made", tmp_path)


@pytest.mark.usefixtures("records")
def test_a_study_that_is_not_there_is_told_with_a_hint(tmp_path):
    with pytest.raises(UserError, match=r"no study 'mode' in .*did you mean 'made'"):
        read_study("mode", tmp_path)


def test_summaries_count_what_ended(records, tmp_path):
    _run(records)
    (found,) = summaries(tmp_path)
    assert (found.name, found.trials, found.complete, found.stage) == ("made", 1, 1, "confirm")


def test_reading_a_study_imports_no_torch(records, tmp_path):
    _run(records)
    code = (
        "import sys, harness;"
        f"print(len(harness.read_study('made', {str(tmp_path)!r}).trials), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def _froze(records, sweep, digest):
    with Session(records.studies.engine) as session, session.begin():
        changed = {"sweep": sweep, "sweep_digest": digest}
        session.execute(update(StudyRow).where(StudyRow.name == "made").values(changed))


def test_a_study_begun_before_a_key_came_goes_on_with_its_default(records):
    older = SWEEP.to_dict()
    del older["search"]["racing"], older["confirmation"]["cost"]
    _froze(records, older, "0123456789abcdef")
    records.register(SWEEP, "digest", OBJECTIVE, {})
    other = load_sweep("ner_medical", ["search.trials=4", "confirmation.cost=train_seconds"])
    with pytest.raises(UserError, match=r"cost was null, is .train_seconds"):
        records.register(other, "digest", OBJECTIVE, {})


def test_a_sweep_that_cannot_be_read_any_more_is_another_one(records):
    _froze(records, {**SWEEP.to_dict(), "long_gone": 1}, "0123456789abcdef")
    with pytest.raises(UserError, match="long_gone was 1, is null"):
        records.register(SWEEP, "digest", OBJECTIVE, {})
