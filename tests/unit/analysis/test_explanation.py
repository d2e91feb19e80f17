"""The chain from trials to verdict: it is there at any time, and its figures are the verdict's."""

import pytest

from harness.analysis.explanation import explain
from harness.analysis.formatting import metric_format
from harness.analysis.recommendation import recommend
from harness.results import Objective, StudyResults
from tests.studies import F1, PERPLEXITY, empty_results, make_results, one_trial_results


def lines(results: StudyResults, title: str) -> tuple[str, ...]:
    return next(step.lines for step in explain(results) if step.title == title)


@pytest.mark.parametrize("objective", [F1, PERPLEXITY], ids=lambda each: each.name)
def test_the_chain_ends_where_the_recommendation_does(objective: Objective) -> None:
    results = make_results(objective=objective, seed=1)
    verdict, show = recommend(results), metric_format(objective).show
    titles = [step.title for step in explain(results)]
    assert titles[0] == "trials"
    assert titles[-1] == "decision rule"
    assert len(titles) == 8
    numbers = results.trials.loc[results.trials["stage"] == "confirm", "number"]
    scores = lines(results, "scores on test")
    for row in verdict.comparison.to_dict("records"):
        (told,) = [line for line in scores if line.startswith(f"{row['label']}: ")]
        assert show(row["value"]) in told
        own = results.trials[
            (results.trials["key"] == row["key"]) & results.trials["number"].isin(numbers)
        ]
        assert ", ".join(str(number) for number in own["number"]) in told
        (rule,) = [
            line for line in lines(results, "decision rule") if f": {row['label']}: " in line
        ]
        assert rule.endswith(", picked") == (row["verdict"] == "pick")
    assert verdict.pick is not None
    inside = [one for one in lines(results, "model confidence set") if ", in the" in one]
    assert [one.partition(": p =")[0] for one in inside] == [*verdict.confidence_set]


@pytest.mark.parametrize(
    "results",
    [
        empty_results(),
        one_trial_results(),
        make_results(stages=("search",)),
        make_results(stages=("search", "ablate")),
        make_results(looks=(2,)),
    ],
    ids=["empty", "one trial", "search", "ablation", "two seeds"],
)
def test_there_is_a_chain_at_any_time(results: StudyResults) -> None:
    steps = explain(results)
    assert steps
    for step in steps:
        assert step.lines
        assert all("nan" not in line for line in step.lines)


def test_the_chain_names_the_looks_and_their_errors() -> None:
    told = " ".join(lines(make_results(looks=(5, 10)), "look and alpha spending"))
    assert "5 seeds 0.0125, 10 seeds 0.0375" in told
    assert "96.25 %" in told
