import dataclasses
import math
import re

import pandas as pd
import pytest

from harness.analysis.recommendation import COLUMNS, recommend
from tests.studies import (
    ACCURACY,
    F1,
    MACRO,
    PERPLEXITY,
    ROUGE,
    config,
    confirm_results,
    empty_results,
    make_results,
    one_trial_results,
)


@pytest.fixture(scope="module")
def advice():
    return recommend(make_results(sizes={"validation": 40, "test": 300}))


def around(centre, count=10, step=0.002):
    return [centre + step * (i % 3 - 1) for i in range(count)]


def test_full_study_is_decided_on_a_cheap_good_one(advice):
    assert advice.outcome == "decided"
    assert advice.pick["rank"] == 16
    assert advice.pick["parameters"] == 163_840
    assert advice.score.low < advice.score.value < advice.score.high
    assert (advice.seeds, advice.examples) == (10, 300)
    assert 0 < advice.seed_sd < 0.03
    assert advice.more_seeds is None


def test_comparison_has_a_row_a_finalist_cheapest_first(advice):
    table = advice.comparison
    assert tuple(table.columns) == COLUMNS
    assert table["parameters"].is_monotonic_increasing
    assert table["verdict"].tolist().count("pick") == 1
    assert set(table["verdict"]) <= {"pick", "best", "not worse", "worse", "undecided"}
    assert (table["lower"] <= 0).all()
    assert (table["upper"] >= 0).all()
    worst = table.set_index(["rank", "target_modules"]).loc[(4, "qv")]
    assert worst["verdict"] == "worse"
    assert worst["lower"] < worst["difference_to_best"] < 0


def test_those_that_look_alike_are_named(advice):
    assert advice.indistinguishable == ("r=32 (lora, all_linear)",)


def test_evidence_gives_the_figures_in_points(advice):
    assert advice.evidence.startswith(
        "Of 6 finalists r=16 (lora, all_linear, 163,840 parameters) is the cheapest that is shown"
    )
    assert "not more than 2 points of F1 below the best" in advice.evidence
    assert "95 % CI" in advice.evidence
    assert "10 seeds x 300 examples" in advice.evidence


def test_what_is_not_supported_names_what_was_not_done(advice):
    text = " ".join(advice.not_supported)
    assert "Ranks 1, 2 and 64 were not confirmed" in text
    assert "Left out: pairs: no room for rank=64" in text
    assert "no interaction but rank@target_modules=qv" in text
    equal = next(line for line in advice.not_supported if "absence of evidence" in line)
    assert "differs significantly from the reference (3 seeds per level)" in equal
    assert "dropout" in equal
    assert "Another base model than builtin:tiny or other data than ner_medical" in text


def test_ranks_alone_are_told_as_ranks():
    scores = {
        config(rank=32): around(0.86),
        config(rank=8): around(0.86),
        config(rank=1): around(0.6),
    }
    found = recommend(confirm_results(scores, examples=500))
    assert found.outcome == "decided"
    assert found.evidence.startswith("Of 3 finalists r=")
    assert "has the smallest rank that is shown to be not more than" in found.evidence
    assert found.pick["rank"] == 8


@pytest.mark.parametrize("bare", [0.0, 0.1])
def test_adapters_that_learned_nothing_are_no_tie(bare):
    # Scores of 0 at every seed have no spread: bounds of width 0 would call them equal.
    scores = {config(rank=rank): [0.0] * 5 for rank in (32, 8)}
    found = with_base(confirm_results(scores, examples=100), bare)
    advice = recommend(found)
    assert (advice.outcome, advice.pick, advice.score) == ("undecided", None, None)
    assert advice.best is not None
    assert f"(0.0 against {100 * bare:.1f} points of F1 on test)" in advice.evidence
    assert set(advice.comparison["verdict"]) == {"undecided"}


def test_a_base_that_is_beaten_changes_nothing():
    scores = {config(rank=rank): around(0.86) for rank in (32, 16, 8)}
    found = confirm_results(scores, examples=300)
    assert recommend(with_base(found, 0.2)).evidence == recommend(found).evidence


@pytest.mark.parametrize(("floor", "told"), [(0.5, False), (0.9, True)])
def test_finalists_below_what_needs_no_model_are_told_so(floor, told):
    scores = {config(rank=rank): around(0.8) for rank in (32, 8)}
    study = confirm_results(scores, examples=300)
    low = with_base(study, 0.1)
    both = [low.baselines, with_base(study, floor, "copied_input").baselines]
    advice = recommend(dataclasses.replace(study, baselines=pd.concat(both)))
    said = f"than copied input ({100 * floor:.1f}), which needs no model: train for longer"
    assert (said in advice.evidence) is told
    assert advice.pick is not None
    assert advice.evidence.startswith(recommend(low).evidence)


def with_base(results, score, name="base_0_shot"):
    """The study with a bare base, or another baseline, of that F1 on test, in ten examples."""
    columns = list(results.objective.columns)
    rows = pd.DataFrame(0.0, index=range(10), columns=columns)
    rows[columns[0]] = score  # F1 = 2 tp / (2 tp + fp + fn) with tp = score, fp = fn = 1 - score
    rows[columns[1]] = rows[columns[2]] = 1 - score
    rows = rows.assign(name=name, split="test", example="x", prediction="", unparsed=False)
    return dataclasses.replace(results, baselines=rows)


def test_a_tie_names_the_cheapest():
    scores = {config(rank=rank): around(0.86) for rank in (32, 16, 8)}
    found = recommend(confirm_results(scores, examples=600))
    assert found.outcome == "tie"
    assert found.pick["rank"] == 8
    assert "is the cheapest" in found.evidence
    assert len(found.indistinguishable) <= 2


def test_undecided_says_how_many_more_seeds():
    scores = {config(rank=32): around(0.8, 5, 0.04), config(rank=8): around(0.8, 5, -0.04)}
    found = recommend(confirm_results(scores, examples=400))
    assert found.outcome == "undecided"
    assert found.pick is None
    assert found.score is None
    assert found.best is not None
    assert found.more_seeds > 0
    assert f"about {found.more_seeds} more seeds" in found.evidence


def test_perplexity_is_compared_downwards():
    scores = {config(rank=32): around(0.86, 10), config(rank=2): around(0.6, 10)}
    found = recommend(confirm_results(scores, objective=PERPLEXITY, examples=200))
    assert found.pick["rank"] == 32
    assert "not more than 0.2 perplexity above the best" in found.evidence
    table = found.comparison.set_index("rank")
    assert table.loc[2, "difference_to_best"] > 0
    assert table.loc[2, "verdict"] == "worse"


def test_without_confirmation_it_is_only_what_the_search_says():
    found = recommend(one_trial_results())
    assert found.outcome == "none"
    assert found.pick is None
    assert found.best["rank"] == 16
    assert "as the best of a search it is optimistically biased" in found.evidence
    assert found.comparison.empty


def test_an_empty_study_says_so():
    found = recommend(empty_results())
    assert found.outcome == "none"
    assert found.best is None
    assert "nothing to recommend" in found.evidence


def test_one_confirmed_configuration_has_nothing_to_be_compared_with():
    found = recommend(confirm_results({config(): around(0.8, 5)}, examples=30))
    assert found.outcome == "undecided"
    assert found.best["rank"] == 16
    assert "only configuration" in found.evidence


def test_single_seeds_decide_nothing():
    study = confirm_results({config(): [0.9], config(rank=4): [0.5]}, examples=30)
    found = recommend(study)
    assert found.outcome == "undecided"
    assert found.seed_sd is None
    assert "nothing can be compared" in found.evidence


def test_one_example_decides_nothing():
    scores = {config(): around(0.8, 5), config(rank=4): around(0.5, 5)}
    found = recommend(confirm_results(scores, examples=1))
    assert found.outcome == "undecided"
    assert found.comparison[["lower", "upper"]].isna().all(axis=None)
    assert found.more_seeds is None


def test_failed_trainings_are_told():
    scores = {config(): around(0.86, 5), config(rank=4): [0.5, math.nan, 0.5, 0.51, 0.5]}
    found = recommend(confirm_results(scores, examples=100))
    assert any("1 of 5 trainings of r=4" in line for line in found.not_supported)


def test_a_look_that_is_not_complete_and_one_beyond_are_told():
    early = recommend(confirm_results({config(): around(0.8, 3)}, examples=10))
    assert any("not complete (3 so far)" in line for line in early.not_supported)
    late = recommend(confirm_results({config(): around(0.8, 11)}, examples=10))
    assert any("exploratory" in line for line in late.not_supported)


def test_missing_costs_do_not_stop_it():
    scores = {config(): around(0.86, 5), config(rank=4): around(0.5, 5)}
    study = confirm_results(scores, examples=100)
    bare = dataclasses.replace(study, costs=study.costs.head(0))
    assert recommend(bare).pick["parameters"] is None


def ablated(objective=F1, confirm=0):
    study = make_results(
        sizes={"validation": 200, "test": 5}, stages=("ablate",), objective=objective
    )
    settings = {"search": {"trials": 0}, "confirmation": {"max_configurations": confirm}}
    return dataclasses.replace(study, sweep={**study.sweep, **settings})


@pytest.mark.parametrize("objective", [F1, PERPLEXITY])
def test_an_ablation_alone_is_summed_up_against_its_reference(objective):
    study = ablated(objective)
    advice = recommend(study)
    values = study.trials[study.trials["stage"] == "ablate"].groupby("key")["value"].mean()
    best = (objective.sign * values).idxmax()
    assert (advice.outcome, advice.pick) == ("none", None)
    assert advice.best["key"] == best
    assert (advice.seeds, advice.examples) == (3, 200)
    assert advice.evidence.startswith("As planned, nothing was confirmed on the test split. ")
    told = re.search(r"joint 95 % CI (\S+) to (\S+)\. ", advice.evidence)
    low, high = map(float, told.groups())
    own = study.attributes["incumbent"]
    like = ("rank", "variant", "target_modules", "alpha", "dropout")
    (reference, *_) = (
        cell["key"]
        for cell in study.attributes["cells"]
        if all(cell["config"][name] == own[name] for name in like)
    )
    gap = values[best] - values[reference]
    assert low <= gap * objective.scale <= high
    assert f"of {len(values)} configurations" in advice.evidence


def test_an_ablation_that_was_not_all_the_plan_does_not_say_so():
    assert recommend(ablated(confirm=4)).evidence.startswith("Nothing was confirmed on the test")


def test_a_reference_that_is_the_best_is_called_so():
    study = ablated()
    best = recommend(study).best
    cells = study.attributes["cells"]
    (own, *_) = (cell["config"] for cell in cells if cell["key"] == best["key"])
    changed = dataclasses.replace(study, attributes={**study.attributes, "incumbent": own})
    assert "it is the reference itself" in recommend(changed).evidence


def test_an_ablation_under_way_says_what_is_missing():
    study = ablated()
    none = dataclasses.replace(study, trials=study.trials[study.trials["stage"] == "tune"])
    assert "No two cells" in recommend(none).evidence


@pytest.mark.parametrize("objective", [PERPLEXITY, ACCURACY, MACRO, ROUGE], ids=lambda o: o.name)
def test_the_verdict_is_right_whatever_the_metric(objective):
    wide = dataclasses.replace(objective, margin={"perplexity": 0.5}.get(objective.name, 0.1))
    scores = {
        config(rank=32): around(0.86),
        config(rank=8): around(0.855),
        config(rank=1): around(0.5),
    }
    found = recommend(confirm_results(scores, objective=wide, examples=500))
    assert found.outcome == "decided"
    assert found.pick["rank"] == 8
    table = found.comparison.set_index("rank")
    assert table.loc[1, "verdict"] == "worse"
    assert wide.sign * table.loc[1, "difference_to_best"] < -wide.margin
    assert table.loc[1, ["lower", "upper"]].is_monotonic_increasing
    assert found.score.low < found.score.value < found.score.high
    assert wide.margin_text in found.evidence


@pytest.mark.parametrize("objective", [F1, PERPLEXITY, ROUGE], ids=lambda o: o.name)
def test_a_base_that_no_adapter_beats_means_that_nothing_was_learned(objective):
    scores = {config(rank=32): around(0.86, 5), config(rank=8): around(0.85, 5)}
    study = confirm_results(scores, objective=objective, examples=100)
    order = (objective.sign * study.trials.set_index("number")["test"]).sort_values()
    rows = study.examples[study.examples["split"] == "test"]

    def beside(trial):
        bare = rows[rows["trial"] == trial].drop(columns="trial").assign(name="base_0_shot")
        return recommend(dataclasses.replace(study, baselines=bare))

    # The best of ten runs is better than any mean of five, the worst of them is not.
    best, worst = beside(order.index[-1]), beside(order.index[0])
    assert "nothing was learned" in best.evidence
    assert (best.outcome, best.pick) == ("undecided", None)
    assert "nothing was learned" not in worst.evidence


def test_the_cheapest_is_by_what_the_user_asks_for():
    study = make_results(seed=0, sizes={"validation": 80, "test": 900})
    costs = study.costs.copy()
    key = dict(zip(study.trials["number"], study.trials["rank"], strict=True))
    # Where a low rank takes longest, the pick by time is another than the one by parameters.
    costs["train_seconds"] = [100.0 / key[number] for number in costs["trial"]]
    turned = dataclasses.replace(study, costs=costs)
    small, quick = recommend(turned), recommend(turned, cost="train_seconds")
    assert small.pick is not None
    assert quick.pick is not None
    assert quick.pick["rank"] > small.pick["rank"]
    assert quick.cost == "train_seconds"
    assert "s of training" in quick.evidence
    assert quick.comparison["cost"].is_monotonic_increasing
    # Who is good enough does not depend on what it costs.
    good = [
        set(each.comparison.loc[each.comparison["lower"] >= -0.02, "key"])
        for each in (small, quick)
    ]
    assert good[0] == good[1]
    laid_down = {**study.sweep, "confirmation": {**study.sweep["confirmation"]}}
    laid_down["confirmation"]["cost"] = "train_seconds"
    frozen = dataclasses.replace(turned, sweep=laid_down)
    assert recommend(frozen).pick == quick.pick


def test_a_cost_that_is_not_known_picks_by_score():
    study = make_results(seed=1)
    older = dataclasses.replace(study, costs=study.costs.assign(inference_memory=float("nan")))
    found = recommend(older, cost="inference_memory")
    assert found.pick is not None
    assert found.pick["key"] == found.best["key"]
    assert found.comparison["cost"].isna().all()


def test_all_that_may_be_the_best_are_named():
    found = recommend(make_results(seed=1))
    assert found.confidence_set
    best = found.comparison.loc[found.comparison["value"].idxmax(), "label"]
    assert found.confidence_set[0] == best
    assert set(found.confidence_set) < set(found.comparison["label"])
