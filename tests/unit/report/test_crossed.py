"""The heat map of a planned pair."""

import re

import pytest

from harness.analysis.ablation import crossed_scores
from harness.analysis.scores import complete
from harness.report import formatting
from harness.report.crossed import crossed_map
from harness.report.sections import ablation
from harness.results import StudyResults

PAIR = "rank@target_modules=qv"


@pytest.mark.parametrize("size", ["ablated", "perplexity"])
def test_each_cell_has_the_mean_score_of_its_trainings(
    size: str, request: pytest.FixtureRequest
) -> None:
    study: StudyResults = request.getfixturevalue(size)
    frame = crossed_scores(study, PAIR)
    trials = complete(study, "ablate")
    cells = {(c["factor"], c["level"]): c["key"] for c in study.attributes["cells"]}
    assert len(frame) == 2 * len(set(frame["level"]))
    for row in frame.to_dict("records"):
        key = cells[PAIR if row["held"] else "rank", row["level"]]
        own = trials[trials["key"] == key]
        assert row["seeds"] == own["seed"].nunique()
        assert row["value"] == pytest.approx(own["value"].mean())
    shown = str(crossed_map(study, PAIR, {"rank": "Rank"}))
    scale = formatting.scale(study.objective)
    assert shown.count('class="cell"') == len(frame)
    assert all(scale.show(value) in shown for value in frame["value"])
    # The best cell is filled the strongest.
    deepest = [float(x) for x in re.findall(r'fill-opacity="([\d.]+)"', shown)]
    values = [study.objective.sign * value for value in frame["value"]]
    assert deepest.index(max(deepest)) == values.index(max(values))


def test_it_stands_in_the_ablation_where_a_pair_was_planned(
    ablated: StudyResults, searched: StudyResults
) -> None:
    assert 'class="cell"' in ablation.render(ablated)
    assert crossed_map(searched, PAIR, {}) == ""
    assert crossed_map(ablated, "rank@dropout=0.5", {}) == ""
