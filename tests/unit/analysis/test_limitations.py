"""What a study could not have seen, from its rows."""

import dataclasses

import numpy as np
import pytest

from harness.analysis.limitations import (
    RARE,
    minimum_detectable_difference,
    not_supported,
    unmeasured,
)
from harness.analysis.verdict import confirm_state
from harness.results import StudyResults
from tests.studies import PERPLEXITY, config, confirm_results, empty_results, make_results

SIZES = {"validation": 10, "test": 5}


def test_an_empty_study_says_that_nothing_was_confirmed():
    text = " ".join(not_supported(empty_results(), None))
    assert "Nothing was confirmed" in text
    assert "Ranks" not in text


def test_rates_at_the_edge_are_named_with_their_cells():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    cells = [{**cell, "rate": cell["rates"][1]} for cell in study.attributes["cells"]]
    cells[0]["rate"] = cells[0]["rates"][-1]
    changed = dataclasses.replace(study, attributes={**study.attributes, "cells": cells})
    said = [line for line in not_supported(changed, None) if "--extend-grid" in line]
    assert len(said) == 1
    assert said == [
        "The best learning rate is the highest of its grid for rank=4 (0.013); run --extend-grid "
        "to widen it."
    ]


def test_many_rates_at_the_edge_are_counted():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    cells = [{**cell, "rate": cell["rates"][0]} for cell in study.attributes["cells"]]
    changed = dataclasses.replace(study, attributes={**study.attributes, "cells": cells})
    said = [line for line in not_supported(changed, None) if "--extend-grid" in line]
    assert said == [
        f"The best learning rate is the lowest of its grid for {len(cells)} of {len(cells)} "
        "levels; run --extend-grid to widen it."
    ]


def test_tuning_on_fewer_steps_is_told():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    for budget, count in ((1 / 3, 1), (1.0, 0)):
        attributes = {**study.attributes, "plan": {"budget": budget}}
        said = not_supported(dataclasses.replace(study, attributes=attributes), None)
        assert sum("tuned with 1/3 of the steps" in line for line in said) == count


def test_the_ablations_best_cell_is_named_when_it_was_not_confirmed():
    study = make_results(sizes=SIZES, trials=5)
    ablated = study.trials[study.trials["stage"] == "ablate"]
    best = ablated.groupby("key")["value"].mean().idxmax()
    confirmed = study.trials["stage"].eq("confirm")
    others = study.trials[~(confirmed & study.trials["key"].eq(best))]
    here = not_supported(study, confirm_state(study))
    missing = dataclasses.replace(study, trials=others)
    gone = not_supported(missing, confirm_state(missing))
    was = bool((confirmed & study.trials["key"].eq(best)).any())
    assert any("ablation's best cell" in line for line in here) is not was
    said = [line for line in gone if "ablation's best cell" in line]
    assert len(said) == 1
    mean = 100 * ablated.loc[ablated["key"] == best, "value"].mean()
    assert f"on validation ({mean:.1f} points of F1)" in said[0]
    assert said[0].count("highest of") == 1


def test_factors_without_an_effect_stand_in_one_sentence():
    study = make_results(sizes=SIZES, trials=5, seed_sd=0.2, stages=("search", "ablate"))
    said = [line for line in not_supported(study, None) if "absence of evidence" in line]
    assert len(said) == 1
    assert " or " in said[0]


def test_a_factor_without_levels_was_not_measured():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    cells = [cell for cell in study.attributes["cells"] if cell["factor"] != "dropout"]
    changed = dataclasses.replace(study, attributes={**study.attributes, "cells": cells})
    assert "The effect of dropout was not measured." in not_supported(changed, None)


def test_factors_without_levels_stand_in_one_sentence():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    cells = [cell for cell in study.attributes["cells"] if cell["factor"] == "variant"]
    changed = dataclasses.replace(study, attributes={**study.attributes, "cells": cells})
    said = [line for line in not_supported(changed, None) if "not measured" in line]
    assert said == [
        "The effects of rank, alpha as a multiple of the rank, target modules and dropout were "
        "not measured."
    ]


def test_without_a_search_no_search_score_is_spoken_of():
    study = make_results(sizes=SIZES, stages=("ablate",))
    changed = dataclasses.replace(study, sweep={**study.sweep, "search": {"trials": 0}})
    said = not_supported(changed, None)
    assert not any("search scores" in line for line in said)
    assert "validation split" in said[0]


def test_a_cheaper_one_that_is_open_is_named():
    close = {
        config(rank=32): [0.86 + 0.004 * (i % 3) for i in range(10)],
        config(rank=8): [0.845 + 0.008 * (i % 2) for i in range(10)],
    }
    study = confirm_results(close, examples=200)
    now = confirm_state(study)
    assert now.pick == 0
    said = [line for line in not_supported(study, now) if "Inconclusive" in line]
    assert len(said) == 1
    assert "r=8" in said[0]


def test_few_seeds_are_told():
    study = confirm_results({config(): [0.8] * 5}, examples=5)
    assert any("from 5 seeds only" in line for line in not_supported(study, None))
    study = confirm_results({config(): [0.8]}, examples=5)
    assert "The variance over training seeds is estimated from one seed only." in not_supported(
        study, None
    )


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ([8, 16], "Rank 16 was not confirmed: the verdict does not cover it."),
        ([4, 8, 16], "Ranks 4 and 16 were not confirmed: the verdict does not cover them."),
    ],
)
def test_ranks_that_were_not_confirmed_are_named(offered, said):
    study = confirm_results({config(rank=8): [0.8] * 5}, examples=5)
    wider = dataclasses.replace(study, sweep={**study.sweep, "space": {"rank": offered}})
    assert said in not_supported(wider, None)


def test_where_all_ranks_were_confirmed_none_is_named():
    study = confirm_results({config(rank=8): [0.8] * 5}, examples=5)
    narrow = dataclasses.replace(study, sweep={**study.sweep, "space": {"rank": [8]}})
    assert not [line for line in not_supported(narrow, None) if "not confirmed" in line]


def test_inputs_in_two_splits_are_told_first():
    study = make_results(sizes=SIZES, trials=5, stages=("search",))
    noted = {**study.provenance, "leaks": {"validation": 1, "test": 3}}
    said = not_supported(dataclasses.replace(study, provenance=noted), None)
    assert said[0] == (
        "Scores are inflated: some inputs also occur in another split (1 of validation and 3 of "
        "test), which the sweep allows."
    )
    assert not any("inflated:" in line for line in not_supported(study, None))


def test_a_limit_on_the_rows_is_told():
    study = confirm_results({config(): [0.8] * 5}, examples=5)
    few = dataclasses.replace(study, sweep={**study.sweep, "data": {"limit": 1000}})
    assert not_supported(few, None)[-1].endswith(
        "than ner_medical (here at most 1,000 rows of each split) may need other settings."
    )
    assert "here at most" not in not_supported(study, None)[-1]


def test_times_of_adapters_trained_together_are_told_as_shares():
    study = make_results(sizes=SIZES, trials=5, stages=("search",))
    assert "trained together" not in " ".join(not_supported(study, None))
    packed = dataclasses.replace(study, costs=study.costs.assign(pack=4))
    assert "trained together" in " ".join(not_supported(packed, None))


def test_seeds_added_after_an_early_end_are_exploratory_not_a_look_under_way():
    study = confirm_results({config(rank=rank): [0.8] * 7 for rank in (8, 32)}, looks=(5, 10))
    assert any("is not complete (7 so far)" in line for line in not_supported(study, None))
    noted = {**study.attributes, "added.1": {"keys": [], "from": 5, "to": 7}}
    said = not_supported(dataclasses.replace(study, attributes=noted), None)
    assert any("(7 seeds so far): the verdict is exploratory" in line for line in said)
    assert not any("is not complete" in line for line in said)


def noisy(gap: float, seed: int) -> StudyResults:
    rng = np.random.default_rng(seed)
    scores = {
        config(rank=8): [*(0.80 + 0.012 * rng.standard_normal(5))],
        config(rank=32): [*(0.80 + gap + 0.012 * rng.standard_normal(5))],
    }
    return confirm_results(scores, examples=150, looks=(5,), seed=seed)


def test_what_is_called_detectable_is_found_in_most_studies() -> None:
    sizes = [
        minimum_detectable_difference(now)
        for seed in range(6)
        if (now := confirm_state(noisy(0.0, seed)))
    ]
    size = float(np.mean(sizes))
    assert 0.01 < size < 0.12
    found = 0
    for seed in range(20):
        now = confirm_state(noisy(size, 100 + seed))
        assert now is not None
        found += bool((now.joint_bounds.low > 0).any())
    assert found >= 12  # 16 are expected


def test_the_difference_is_told_with_seeds_and_examples() -> None:
    results = noisy(0.0, 1)
    (said,) = [
        line
        for line in unmeasured(results, confirm_state(results))
        if "detectable difference" in line
    ]
    assert "points of F1" in said
    assert "5 seeds and 150 examples" in said
    assert not [line for line in unmeasured(results, None) if "detectable difference" in line]


@pytest.mark.parametrize(("examples", "rare"), [(10, True), (200, False)])
def test_rare_classes_are_named(examples: int, rare: bool) -> None:
    scores = {config(rank=rank): [0.8, 0.81] for rank in (8, 32)}
    results = confirm_results(scores, examples=examples)
    said = [line for line in unmeasured(results, None) if f"fewer than {RARE} mentions" in line]
    assert bool(said) == rare
    if rare:
        rows = results.examples
        rows = rows[(rows["trial"] == 0) & (rows["split"] == "test")]
        count = int(rows["DOSAGE.tp"].sum() + rows["DOSAGE.fn"].sum())
        assert f"DOSAGE ({count})" in said[0]


def test_metrics_without_classes_have_no_rare_ones() -> None:
    scores = {config(rank=rank): [0.8, 0.81] for rank in (8, 32)}
    results = confirm_results(scores, examples=10, objective=PERPLEXITY)
    assert not [line for line in unmeasured(results, None) if "mentions" in line]


def test_what_was_never_scored_is_told() -> None:
    study = make_results(trials=5, sizes={"validation": 20, "test": 20})
    assert not [line for line in unmeasured(study, None) if "unknown" in line]
    bare = dataclasses.replace(study, baselines=study.baselines.iloc[:0])
    assert any("was not scored" in line for line in unmeasured(bare, None))
    asked = dataclasses.replace(study, sweep={**study.sweep, "baselines": {"full": True}})
    assert any("Full fine-tuning has no" in line for line in unmeasured(asked, None))
    assert unmeasured(empty_results(), None) == []


def test_cells_with_one_seed_are_counted() -> None:
    study = make_results(
        trials=5, sizes={"validation": 20, "test": 20}, stages=("search", "ablate")
    )
    trials = study.trials.copy()
    first = trials[trials["stage"] == "ablate"].drop_duplicates("key").head(2)["key"]
    lost = trials["key"].isin(first) & (trials["stage"] == "ablate") & (trials["seed"] > 2000)
    trials.loc[lost, "state"] = "failed"
    (said,) = [
        line
        for line in unmeasured(dataclasses.replace(study, trials=trials), None)
        if "one complete seed" in line
    ]
    assert said.startswith("2 cells of the ablation have")
