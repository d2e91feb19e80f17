import dataclasses

from harness.analysis.limits import not_supported
from harness.analysis.verdict import standing
from tests.studies import config, confirm_results, empty_results, make_results

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
    said = [line for line in not_supported(changed, None) if "edge of the grid" in line]
    assert len(said) == 1
    assert "0.013" in said[0]
    assert "rank=4:" in said[0]


def test_a_factor_without_levels_was_not_measured():
    study = make_results(sizes=SIZES, trials=5, stages=("search", "ablate"))
    cells = [cell for cell in study.attributes["cells"] if cell["factor"] != "dropout"]
    changed = dataclasses.replace(study, attributes={**study.attributes, "cells": cells})
    assert "The effect of dropout was not measured." in not_supported(changed, None)


def test_a_cheaper_one_that_is_open_is_named():
    close = {
        config(rank=32): [0.86 + 0.004 * (i % 3) for i in range(10)],
        config(rank=8): [0.845 + 0.008 * (i % 2) for i in range(10)],
    }
    study = confirm_results(close, examples=200)
    now = standing(study)
    assert now.pick == 0
    said = [line for line in not_supported(study, now) if "is open" in line]
    assert len(said) == 1
    assert "r=8" in said[0]


def test_few_seeds_are_told():
    study = confirm_results({config(): [0.8] * 5}, examples=5)
    assert any("from 5 seeds only" in line for line in not_supported(study, None))
