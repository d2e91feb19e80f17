"""Tests of `harness.plots`: the figures of the page, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness
from harness import plots
from harness.analysis import error_analysis
from harness.errors import UserError
from harness.report.sections import ablation, learning_curves, search, tradeoffs, verdict
from tests import studies

if TYPE_CHECKING:
    from collections.abc import Callable

    from plotly.graph_objects import Figure

    from harness.report.section import Chart
    from harness.results import StudyResults

#: Each function with what it takes beside the study.
CALLS: dict[str, tuple[Any, ...]] = {name: () for name in plots.__all__} | {
    "plot_ablation": ("rank",)
}


@pytest.fixture(scope="module")
def full() -> StudyResults:
    return studies.make_results()


@pytest.fixture(scope="module")
def searched() -> StudyResults:
    return studies.make_results(stages=("search",))


def call(name: str, results: StudyResults) -> Figure:
    return getattr(harness.plots, name)(results, *CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_it_draws_a_whole_study_and_changes_nothing(name: str, full: StudyResults) -> None:
    first, second = call(name, full), call(name, full)
    assert first.to_json() == second.to_json()
    assert first.layout.title.text
    assert any(len(trace.x) for trace in first.data)
    assert first.layout.template.layout.font.family


@pytest.mark.parametrize(
    ("name", "charts"),
    [
        ("plot_finalists", verdict.finalist_charts),
        ("plot_history", search.history_charts),
        ("plot_parallel", search.parallel_charts),
        ("plot_learning_curves", learning_curves.loss_charts),
        ("plot_tradeoff", tradeoffs.tradeoff_charts),
        ("plot_ablation", ablation.ablation_charts),
    ],
)
def test_it_is_the_figure_of_the_page(
    name: str, charts: Callable[[StudyResults], list[Chart]], full: StudyResults
) -> None:
    chart = charts(full)[0]
    assert call(name, full).to_plotly_json()["data"] == chart.figure.to_plotly_json()["data"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plot_ablation", "no level of 'rank' has been trained on fresh seeds yet"),
        ("plot_rank", "no two ranks have been trained on fresh seeds yet"),
        ("plot_tradeoff", "no configuration has been run on fresh seeds yet"),
        ("plot_finalists", "no two finalists have been confirmed on the test split yet"),
        ("plot_classes", "no rank has been trained on fresh seeds yet"),
    ],
)
def test_before_its_stage_a_chart_says_what_is_missing(
    name: str, words: str, searched: StudyResults
) -> None:
    with pytest.raises(UserError) as caught:
        call(name, searched)
    assert str(caught.value) == f"{searched.name}: {words}"


@pytest.mark.parametrize("name", CALLS)
def test_an_empty_study_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"^empty: [^\n]+$"):
        call(name, studies.empty_results())


def test_a_name_that_is_not_known_is_corrected(full: StudyResults) -> None:
    with pytest.raises(UserError, match="unknown factor 'rnk': did you mean 'rank'"):
        plots.plot_ablation(full, "rnk")
    with pytest.raises(UserError, match="unknown cost 'memory': did you mean 'peak_memory'"):
        plots.plot_tradeoff(full, "memory")


def test_a_metric_of_whole_texts_has_no_classes() -> None:
    summaries = studies.make_results(objective=studies.ROUGE)
    with pytest.raises(UserError, match="has no scores by class"):
        plots.plot_classes(summaries)


def test_the_rank_has_a_line_for_its_pair(full: StudyResults) -> None:
    usual, pair = plots.plot_rank(full).data
    frame = ablation.tables(full)["rank@target_modules=qv"]
    assert (usual.name, pair.name) == ("else as the incumbent", "at target modules qv")
    assert list(pair.y) == pytest.approx([100 * value for value in frame["value"]], rel=1e-5)
    for value, text in zip(frame["value"], pair.hovertext, strict=True):
        assert f"{100 * value:.1f} (" in text


@pytest.mark.parametrize("cost", ["parameters", "peak_memory", "train_seconds"])
def test_a_cost_is_on_the_horizontal_axis(cost: str, full: StudyResults) -> None:
    figure = plots.plot_tradeoff(full, cost)
    frame = tradeoffs.quality_table(full, "confirm", "test")
    unit = 2**20 if cost == "peak_memory" else 1
    shown = sorted(x for trace in figure.data if trace.hovertext for x in trace.x)
    assert shown == pytest.approx(sorted(frame[cost].astype(float) / unit), rel=1e-6)
    ablated = studies.make_results(stages=("search", "ablate"))
    assert "Ablation" in plots.plot_tradeoff(ablated, cost).layout.title.text


def test_classes_have_one_mark_each_rank(full: StudyResults) -> None:
    figure = plots.plot_classes(full)
    names = [trace.name for trace in figure.data]
    assert [name for name in names if name.startswith("r=")] == ["r=4", "r=8", "r=16", "r=32"]
    assert set(full.objective.classes) <= set(figure.layout.yaxis.ticktext)


def test_differences_of_examples_fall_and_are_those_of_the_scores(full: StudyResults) -> None:
    compared = error_analysis.compared_configurations(full)
    assert compared is not None
    scores = error_analysis.by_example(full, compared)
    figure = plots.plot_errors(full)
    assert len(figure.data) == len(compared.names) - 1
    for trace, other in zip(figure.data, compared.names[1:], strict=True):
        gains = (scores[compared.chief] - scores[other]).sort_values(ascending=False)
        assert list(trace.y) == pytest.approx(gains.tolist(), abs=1e-6)


def test_texts_from_outside_stay_texts(full: StudyResults) -> None:
    trials = full.trials.copy()
    trials["target_modules"] = trials["target_modules"].replace("qv", '<a href="x">qv</a>')
    hostile = dataclasses.replace(full, name="<b>", trials=trials)
    for name in CALLS:
        assert "<a " not in str(call(name, hostile).to_plotly_json())


PAGE = (Path(__file__).parents[3] / "docs" / "plots.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_examples(examples: list[str], full: StudyResults, folder: Path, patch: Any) -> None:
    """The examples in one namespace, one after the other, as a reader would type them."""
    patch.setattr(harness, "read_study", lambda _: full, raising=False)
    patch.chdir(folder)
    names: dict[str, Any] = {}
    for example in examples:
        exec(example, names)


def test_the_examples_of_the_docs_run(
    full: StudyResults,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = [example for example in EXAMPLES if "write_image" not in example]
    run_examples(plain, full, tmp_path, monkeypatch)
    assert "plotly" in (tmp_path / "rank.html").read_text(encoding="utf-8")
    line = capsys.readouterr().out.strip()
    assert line == "unknown factor 'rnk': did you mean 'rank'?"
    assert f"# {line}" in PAGE


@pytest.mark.chromium
def test_the_example_that_writes_a_picture_runs(
    full: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido", reason="no kaleido here: pip install 'harness[figures]'")
    run_examples(EXAMPLES, full, tmp_path, monkeypatch)
    assert (tmp_path / "tradeoff.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_docs_name_every_function() -> None:
    assert set(re.findall(r"^\| `(plot_\w+)\(", PAGE, re.MULTILINE)) == set(plots.__all__)
