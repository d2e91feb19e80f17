"""The numbers on the page are those of the tables and of `pick --json`, written out anew here."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.cli import run
from harness.report import page
from harness.report.section import SECTIONS
from tests import studies
from tests.e2e.visits import Visit

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from playwright.sync_api import Browser

    from harness.results import StudyResults

pytestmark = pytest.mark.chromium

Form = Callable[[float], str]
THIN: Final = "\u202f"  # between thousands


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def gap(value: float) -> str:
    text = f"{100 * value:+.1f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\u2212")


def count(value: float) -> str:
    return f"{value:,.0f}".replace(",", THIN)


def rate(value: float) -> str:
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def labelled_rate(value: float) -> str:
    mantissa, exponent = rate(value).split("e")
    return f"{float(mantissa):g}e{exponent}"


def p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def one_digit(value: float) -> str:
    return f"{value:.1f}"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def minutes(value: float) -> str:
    return f"{value / 60:.1f}"


SCORE: Final[dict[str, Form]] = {"value": points, "low": points, "high": points}
LEVEL: Final[dict[str, Form]] = {
    **SCORE,
    **dict.fromkeys(("difference", "difference_low", "difference_high", "gain"), gap),
    **dict.fromkeys(("percent_of_full", "percent_of_gain", "train_seconds"), one_digit),
    "p_holm": p_value,
    "learning_rate": rate,
    "scale": "{:g}".format,
    "parameters": count,
    "peak_memory": lambda value: count(value / 2**20),
    "seeds": count,
}
TRADE: Final[dict[str, Form]] = {
    **SCORE,
    **dict.fromkeys(
        ("front_probability", "memory_front_probability", "seconds_front_probability"),
        lambda value: f"{100 * value:.0f}",
    ),
    "learning_rate": labelled_rate,
    "parameters": count,
    "train_seconds": one_digit,
    "peak_memory": lambda value: f"{value / 2**20:.0f}{THIN}MiB",
    "seeds": count,
}
CLASS: Final[dict[str, Form]] = {
    **dict.fromkeys(("r=4", "r=8", "r=16", "r=32", "best", "base_0_shot", "dictionary"), points),
    "support": count,
}
#: How the caption of each shown table begins, by section and table, and how its numbers are shown.
SHOWN: Final[Mapping[tuple[str, str], tuple[str, dict[str, Form]]]] = {
    ("verdict", "finalists"): (
        "The finalists on the test split",
        {
            **SCORE,
            **dict.fromkeys(("difference_to_best", "lower", "upper"), gap),
            "learning_rate": labelled_rate,
            "parameters": count,
            "seeds": count,
        },
    ),
    ("ablation", "rank"): ("Rank: score on", LEVEL),
    ("ablation", "alpha_ratio"): ("Alpha, as a multiple of the rank: score", LEVEL),
    ("ablation", "target_modules"): ("Target modules: score on", LEVEL),
    ("ablation", "dropout"): ("Dropout: score on", LEVEL),
    ("ablation", "variant"): ("Variant: score on", LEVEL),
    ("ablation", "rank@target_modules=qv"): ("Rank at target modules qv: score", LEVEL),
    ("ablation", "interaction: rank@target_modules=qv"): (
        "Rank by target modules qv",
        {
            **dict.fromkeys(("difference", "difference_held", "interaction", "low", "high"), gap),
            "p_holm": p_value,
        },
    ),
    ("tradeoffs", "confirm"): ("Finalists, on the test split, smallest", TRADE),
    ("tradeoffs", "ablate"): ("Ablation, on the validation split, smallest", TRADE),
    ("classes", "f1"): ("F1 by class. At the incumbent", CLASS),
    ("classes", "precision"): ("Precision by class. At the incumbent", CLASS),
    ("classes", "recall"): ("Recall by class. At the incumbent", CLASS),
    ("classes", "f1_qv"): ("F1 by class. On q and v", CLASS),
    ("classes", "precision_qv"): ("Precision by class. On q and v", CLASS),
    ("classes", "recall_qv"): ("Recall by class. On q and v", CLASS),
    ("curves", "divergence"): (
        "Trials that were completed, pruned or diverged",
        {
            **dict.fromkeys(("trials", "diverged"), count),
            **dict.fromkeys(("share", "low", "high"), percent),
        },
    ),
    ("cost", "stages"): (
        "Cost by stage",
        {
            **dict.fromkeys(("complete", "pruned", "failed"), count),
            **dict.fromkeys(
                ("train_seconds", "score_seconds", "device_seconds", "wall_seconds"), minutes
            ),
            "peak_memory": lambda value: f"{value / 2**20:.0f}{THIN}MiB",
            "tokens": lambda value: f"{value / 1e6:.2f}",
        },
    ),
    ("cost", "forecast"): (
        "Device time, forecast and actual",
        {
            "trials": count,
            "trainings": one_digit,
            **dict.fromkeys(("forecast_seconds", "device_seconds"), minutes),
            "ratio": "{:.2f}".format,
        },
    ),
    ("search", "top"): (
        "The best trials of the search",
        {"value": points, "learning_rate": rate, "parameters": count, "train_seconds": one_digit},
    ),
    ("trials", "trials"): (
        "All trials",
        {"value": points, "test": points, "learning_rate": rate, "train_seconds": one_digit},
    ),
}


@pytest.fixture(scope="module")
def results() -> StudyResults:
    return studies.make_results(stages=("search", "ablate", "full", "confirm"))


@pytest.fixture(scope="module")
def shown(
    browser: Browser, results: StudyResults, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the page shows: cells' texts of each table by its caption, the pick and its facts."""
    path: Path = page.write(results, tmp_path_factory.mktemp("numbers") / "full.html")
    with Visit(browser, path) as visit:
        visit.unfold()
        return {
            "tables": visit.ask(
                "Object.fromEntries([...document.querySelectorAll('table')].map(one => ["
                "one.caption.innerText, [...one.tBodies[0].rows].map(row => row.innerText)]))"
            ),
            "pick": visit.page.locator("#pick").inner_text(),
            "score": visit.page.locator(".score").inner_text(),
            "settings": visit.page.locator(".settings").inner_text(),
            "facts": visit.page.locator("#verdict .facts").inner_text(),
        }


@pytest.mark.parametrize(("section", "name"), SHOWN)
def test_every_figure_of_a_table_stands_in_its_row(
    results: StudyResults, shown: dict[str, Any], section: str, name: str
) -> None:
    begin, forms = SHOWN[section, name]
    frame = SECTIONS.get(section).tables(results)[name]
    rows = [rows for caption, rows in shown["tables"].items() if caption.startswith(begin)]
    assert len(rows) == 1
    assert len(rows[0]) == len(frame) > 0
    walked = 0
    for record, text in zip(frame.to_dict("records"), rows[0], strict=True):
        wanted = [
            form(float(record[column]))
            for column, form in forms.items()
            if record.get(column) is not None and math.isfinite(float(record[column]))
        ]
        there = Counter(text.replace("< ", "<").replace("\n", " ").replace("\t", " ").split(" "))
        assert not Counter(wanted) - there, text
        walked += len(wanted)
    assert walked >= 2 * len(frame)


def test_every_metric_of_a_configuration_stands_in_its_row(
    results: StudyResults, shown: dict[str, Any]
) -> None:
    frame = SECTIONS.get("metrics").tables(results)["metrics"]
    (rows,) = [x for caption, x in shown["tables"].items() if "all metrics of the task" in caption]
    groups = [rows_ for _, rows_ in frame.groupby(["key", "baseline"], sort=False)]
    assert len(groups) == len(rows)
    for group, text in zip(groups, rows, strict=True):
        there = Counter(text.replace("\n", " ").replace("\t", " ").split(" "))
        numbers = group[["value", "low", "high"]].to_numpy(dtype=float).ravel()
        wanted = Counter(points(value) for value in numbers if math.isfinite(value))
        assert not wanted - there, text


def test_every_comparison_of_a_claim_stands_in_its_row(
    results: StudyResults, shown: dict[str, Any]
) -> None:
    frame = SECTIONS.get("claims").tables(results)["claims"]
    (rows,) = [x for caption, x in shown["tables"].items() if caption.startswith("Rules of thumb")]
    groups = [rows_ for _, rows_ in frame.groupby("claim", sort=False)]
    assert len(groups) == len(rows)
    walked = 0
    for group, text in zip(groups, rows, strict=True):
        for record in group.to_dict("records"):
            if math.isfinite(record["value"]):
                plain = text.replace("(", " ").replace(")", " ")
                own = [record[name] for name in ("value", "low", "high")]
                ends = [f"{abs(x):.1f}" for x in own if math.isfinite(x)]
                told = [word.lstrip("+-\u2212").rstrip(",;:") for word in plain.split()]
                scaled = [f"{abs(100 * x):.1f}" for x in own if math.isfinite(x)]
                assert set(ends) <= set(told) or set(scaled) <= set(told), text
                walked += len(own)
    assert walked > 12


def test_no_figure_of_the_ablation_and_of_the_finalists_is_left_out(
    results: StudyResults,
) -> None:
    # Figures that stand in words of their own: levels, settings in a label; the cost is one of
    # the others again.
    known = {"level", "rank", "alpha", "alpha_ratio", "dropout", "cost", "reference"}
    for section in ("verdict", "ablation"):
        for name, frame in SECTIONS.get(section).tables(results).items():
            if name != "gain":
                assert set(_numbers(frame)) <= known | set(SHOWN[section, name][1])


def _numbers(frame: pd.DataFrame) -> list[str]:
    known = {str(name): frame[name].dropna() for name in frame.columns}
    return [name for name, column in known.items() if len(column) and all(map(_number, column))]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def test_the_pick_for_programs_is_that_of_the_page(
    results: StudyResults,
    shown: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("harness.storage.records.read_study", lambda *_: results)
    assert run(["pick", results.name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    score, pick = told["score"], told["pick"]
    assert [line for line in shown["score"].split("\n") if line] == [
        points(score["value"]),
        "points of F1 on the test split",
        f"95 % interval {points(score['low'])} to {points(score['high'])}",
        f"{told['seeds']} seeds \u00d7 {told['examples']} examples",
    ]
    modules = pick["target_modules"]
    assert shown["pick"] == f"lora r={pick['rank']} \u03b1={pick['alpha']:g} {modules}"
    assert f"learning rate {labelled_rate(pick['learning_rate'])}" in shown["settings"]
    facts = shown["facts"].split("\n")
    assert count(pick["parameters"]) in facts
    assert points(told["seed_sd"]) in facts
    gains = SECTIONS.get("verdict").tables(results)["gain"].set_index("name")
    for name in ("base_5_shot", "dictionary"):
        gain, baseline = gains.loc[name, ["gain", "baseline"]].astype(float)
        assert gain == pytest.approx(score["value"] - baseline)
        assert gap(gain) in facts
        assert f"points of F1; it reaches {points(baseline)}" in facts
