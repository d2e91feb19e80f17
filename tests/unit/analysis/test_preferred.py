"""A study under bounds: those that break one take no part, and that is said."""

import dataclasses

import pytest

from harness.analysis.explanation import explain
from harness.analysis.pareto import within
from harness.analysis.recommendation import contenders, recommend
from harness.costs import parse
from harness.results import StudyResults
from tests.studies import make_results


@pytest.fixture(scope="module")
def study() -> StudyResults:
    return make_results(sizes={"validation": 40, "test": 120}, trials=12)


def limit(study: StudyResults) -> int:
    """Parameters between the second and the third finalist."""
    sizes = sorted(set(recommend(study).comparison["parameters"]))
    return int((sizes[1] + sizes[2]) / 2)


def test_without_a_bound_nothing_is_changed(study: StudyResults) -> None:
    assert within(study).results is study
    assert recommend(study).prefer == ()
    assert recommend(study, prefer=[parse("parameters<1B")]).left_out == ()


def test_those_that_break_a_bound_are_not_compared(study: StudyResults) -> None:
    bound = parse(f"parameters<{limit(study)}")
    whole, found = recommend(study), recommend(study, prefer=[bound])
    kept = whole.comparison[whole.comparison["parameters"] < bound.limit]
    assert set(found.comparison["key"]) == set(kept["key"])
    assert 0 < len(found.left_out) == len(whole.comparison) - len(kept)
    assert found.prefer == (bound.text,)
    assert f"Left out by {bound.text}: " in found.evidence
    assert all(label in found.evidence for label in found.left_out)
    if found.pick is not None:
        assert found.pick["parameters"] < bound.limit
    # It is what a study says in which the others were never confirmed.
    gone = set(whole.comparison["key"]) - set(kept["key"])
    trials = study.trials
    never = trials[~((trials["stage"] == "confirm") & trials["key"].isin(gone))]
    alone = recommend(dataclasses.replace(study, trials=never))
    assert found.evidence.startswith(alone.evidence)
    assert (found.outcome, found.pick, found.best) == (alone.outcome, alone.pick, alone.best)
    assert found.comparison.equals(alone.comparison)


def test_the_sweep_s_own_bound_holds_for_everything(study: StudyResults) -> None:
    text = f"parameters<{limit(study)}"
    settings = {**study.sweep["confirmation"], "prefer": [text]}
    bound = dataclasses.replace(study, sweep={**study.sweep, "confirmation": settings})
    asked = recommend(study, prefer=[parse(text)])
    assert recommend(bound).evidence == asked.evidence
    assert set(contenders(bound)) <= set(asked.comparison["key"])
    titles = [step.title for step in explain(bound)]
    assert "who keeps the bounds" in titles
    assert "who keeps the bounds" not in [step.title for step in explain(study)]


def test_where_nobody_keeps_it_the_nearest_is_named(study: StudyResults) -> None:
    found = recommend(study, prefer=[parse("parameters<10")])
    least = int(recommend(study).comparison["parameters"].min())
    assert (found.outcome, found.pick, found.best) == ("none", None, None)
    count = len(recommend(study).comparison)
    assert found.evidence.startswith(f"None of {count} finalists keeps parameters<10; nearest is ")
    assert f"{least:,} parameters" in found.evidence
    assert "confirmation.prefer" in found.evidence


def test_all_bounds_have_to_be_kept(study: StudyResults) -> None:
    both = [parse(f"parameters<{limit(study)}"), parse("memory<1")]
    assert recommend(study, prefer=both).outcome == "none"
