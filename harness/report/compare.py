"""Several studies' tables -> one self-contained HTML page that sets them side by side.

Adds no number over tasks or metrics. The frame is that of `harness.report.page`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from markupsafe import Markup

from harness.analysis import study_comparison
from harness.analysis.claims import CLAIMS
from harness.analysis.estimates import estimates
from harness.analysis.recommendation import recommend
from harness.analysis.scores import CONFIGURATION, base_model_score, configurations
from harness.analysis.study_comparison import STANDINGS, Pair
from harness.errors import UserError
from harness.report import formatting, page
from harness.report.section import Column, Record, badge, number_column, table, text_column
from harness.report.sections.ablation import TITLES

if TYPE_CHECKING:
    from harness.analysis.formatting import MetricFormat
    from harness.results import StudyResults

#: How a level stands and what a study came to, by the kind of its mark.
_TAGS: Final = {"decided": "pick", "tie": "best", "within": "best", "worse": "worse"}


def render(studies: Sequence[StudyResults]) -> str:
    """The whole page.

    Args:
        studies: two or more, of different names; any of them may be empty.

    Returns:
        An HTML document that loads nothing.

    Raises:
        UserError: there are fewer than two, or two of one name.
    """
    _check(studies)
    shared, pairs = (
        study_comparison.shared_factors(studies),
        study_comparison.compare_picks(studies, _keys(studies)),
    )
    ranks = [(one, study_comparison.factor_levels(one).get("rank")) for one in studies]
    told = [one for one in pairs if not one.obstacle]
    return page.render_page(
        "comparing.html.j2",
        names=[one.name for one in studies],
        studies=_overview(studies),
        evidence=[(one.name, recommend(one).evidence) for one in studies],
        ranks=[(one, _row(one), _ranks(one, frame)) for one, frame in ranks if frame is not None],
        without=[one.name for one, frame in ranks if frame is None],
        rank_votes=_votes(studies, "rank") if "rank" in shared else "",
        factors=[(_title(name), _votes(studies, name)) for name in shared if name != "rank"],
        pairs=_pairs(studies, told) if told else "",
        said=[(one, next((c for c in CLAIMS if c.name == one.claim), None)) for one in pairs],
        what=_what,
        direction=_direction,
    )


def tables(studies: Sequence[StudyResults]) -> dict[str, pd.DataFrame]:
    """The tidy tables behind the page: `studies`, `levels`, `votes` and `pairs`.

    Raises:
        UserError: there are fewer than two studies, or two of one name.
    """
    _check(studies)
    levels = [
        {"study": one.name, "metric": one.objective.name, "factor": name, **row}
        for one in studies
        for name, frame in study_comparison.factor_levels(one).items()
        for row in frame.to_dict("records")
    ]
    counted = [
        {"factor": name, **row}
        for name in study_comparison.shared_factors(studies)
        for row in study_comparison.best_level_votes(studies, name).to_dict("records")
    ]
    return {
        "studies": pd.DataFrame([_row(one) for one in studies]),
        "levels": pd.DataFrame(
            levels, columns=["study", "metric", "factor", *study_comparison.LEVELS]
        ),
        "votes": pd.DataFrame(counted, columns=["factor", *study_comparison.VOTES]),
        "pairs": _frame(study_comparison.compare_picks(studies, _keys(studies))),
    }


def _check(studies: Sequence[StudyResults]) -> None:
    if len(studies) < 2:
        raise UserError(f"a comparison takes two studies or more, not {len(studies)}")
    name, count = Counter(one.name for one in studies).most_common(1)[0]
    if count > 1:
        raise UserError(f"a comparison takes studies of different names; '{name}' is there twice")


def _chosen(results: StudyResults) -> Mapping[str, Any]:
    """The pick, else the best configuration so far; empty without either."""
    advice = recommend(results)
    return advice.pick or advice.best or {}


def _keys(studies: Sequence[StudyResults]) -> dict[str, str]:
    return {one.name: str(_chosen(one).get("key", "")) for one in studies}


def _row(results: StudyResults) -> dict[str, Any]:
    advice, chosen, objective = recommend(results), _chosen(results), results.objective
    model = results.sweep.get("model")
    model = model if isinstance(model, dict) else {"name": model}
    key = chosen.get("key")
    costs = [configurations(results, stage) for stage in ("confirm", "ablate", "search")]
    seconds = [cost.loc[cost["key"] == key, "train_seconds"] for cost in costs]
    scored = estimates(results, "confirm", "test").set_index("key")
    own = scored.loc[key] if key in scored.index else pd.Series(dtype=float)
    return {
        "study": results.name,
        "task": results.sweep.get("task"),
        "model": model.get("name"),
        "quantization": model.get("quantization") or "none",
        "metric": objective.name,
        "direction": objective.direction,
        "unit": objective.unit or objective.name,
        "margin": objective.margin,
        "outcome": advice.outcome,
        "choice": "pick" if advice.pick else "best so far" if chosen else "",
        **{name: chosen.get(name) for name in ("key", *CONFIGURATION, "parameters")},
        "train_seconds": next((float(one.iloc[0]) for one in seconds if len(one)), math.nan),
        **{name: own.get(name, math.nan) for name in ("value", "low", "high")},
        "gain": objective.sign * (own.get("value", math.nan) - base_model_score(results, "test")),
        **{name: own.get(name, math.nan) for name in ("seeds", "examples")},
    }


def _overview(studies: Sequence[StudyResults]) -> Markup:
    scales = {one.name: formatting.scale(one.objective) for one in studies}
    return table(
        pd.DataFrame([_row(one) for one in studies]),
        [
            Column("Study", lambda row: row["study"], numeric=False, wide=True, note=_what),
            Column("Metric", lambda row: row["metric"], numeric=False, note=_unit),
            Column("Verdict", lambda row: _tagged(row["outcome"]), numeric=False),
            Column("Configuration", formatting.label, numeric=False, wide=True, note=_so_far),
            Column(
                "Score",
                lambda row: scales[row["study"]].show(row["value"]),
                "on test",
                note=lambda row: _known(scales[row["study"]].interval(row["low"], row["high"])),
            ),
            Column("Gain", lambda row: scales[row["study"]].gap(row["gain"]), "over the base"),
            number_column("Parameters", "parameters", formatting.count, "trainable"),
            number_column("Training", "train_seconds", formatting.seconds),
            number_column("Seeds", "seeds", formatting.count, "and examples", _examples),
        ],
        caption="One row a study, each in the unit of its own metric.",
    )


def _what(row: Record) -> str:
    parts = [row[name] for name in ("task", "model", "quantization")]
    return ", ".join(str(one) for one in parts if not formatting.missing(one) and one != "none")


def _direction(row: Record) -> str:
    return "higher is better" if row["direction"] == "maximize" else "lower is better"


def _unit(row: Record) -> str:
    unit = "" if row["unit"] == row["metric"] else row["unit"]
    return Markup("{}<br>{}").format(unit, _direction(row)) if unit else _direction(row)


def _so_far(row: Record) -> str:
    rate = f"lr {formatting.rate(row['learning_rate'])}" if row["choice"] else ""
    return f"{rate}, best so far" if row["choice"] == "best so far" else rate


def _examples(row: Record) -> str:
    return _known(formatting.count(row["examples"]))


def _known(words: str) -> str:
    return "" if words == formatting.MISSING else words


def _title(factor: str) -> str:
    return TITLES.get(factor, factor.replace("_", " ").capitalize())


def _gap(scale: MetricFormat, row: Record) -> str:
    return _known(scale.gap_interval(row["lower"], row["upper"]))


def _ranks(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        frame,
        [
            number_column("Rank", "level", formatting.count),
            number_column(
                "Score",
                "value",
                scale.show,
                scale.unit,
                lambda row: _known(scale.interval(row["low"], row["high"])),
            ),
            number_column(
                "Difference",
                "difference_to_best",
                scale.gap,
                "to the best other",
                lambda row: _gap(scale, row),
            ),
            Column("Standing", lambda row: _tagged(row["standing"]), numeric=False),
            Column("Tuned rate", _rate),
            number_column("Parameters", "parameters", formatting.count, "trainable"),
            number_column("Seeds", "seeds", formatting.count),
        ],
        caption=f"{results.name}: score on validation at each rank.",
        mark=lambda row: "near" if row["standing"] == "within" else "",
    )


def _tagged(word: str) -> Markup:
    return badge(word, _TAGS.get(word, "plain"))


def _rate(row: Record) -> Markup:
    mark = badge("edge", "open") if row["rate_at_edge"] else Markup("")
    return Markup("{}{}").format(formatting.column_rate(row["learning_rate"]), mark)


def _votes(studies: Sequence[StudyResults], factor: str) -> Markup:
    columns = [text_column("Level", "level")]
    for one in studies:
        if factor in (levels := study_comparison.factor_levels(one)):
            columns.append(_study(one, levels[factor]))
    columns += [
        number_column(word.capitalize(), word, formatting.count, "studies") for word in STANDINGS
    ]
    return table(
        study_comparison.best_level_votes(studies, factor),
        columns,
        caption=f"{_title(factor)}: difference to the best other level of the same study.",
        mark=lambda row: "" if row["undecided"] or row["worse"] else "near",
    )


def _study(results: StudyResults, frame: pd.DataFrame) -> Column:
    scale = formatting.scale(results.objective)
    rows = {
        study_comparison.comparable_level(row["level"]): row for row in frame.to_dict("records")
    }

    def show(row: Record) -> str:
        found = rows.get(row["level"])
        return scale.gap(found["difference_to_best"]) if found else formatting.MISSING

    def note(row: Record) -> str:
        found = rows.get(row["level"])
        line = Markup("{}<br>{}")
        return line.format(_gap(scale, found), _tagged(found["standing"])) if found else ""

    return Column(results.name, show, scale.unit, note=note)


def _frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=list(Pair._fields))
    frame["subjects"] = [_settings(one.subjects) for one in pairs]
    return frame.assign(others=[_settings(one.others) for one in pairs])


def _pairs(studies: Sequence[StudyResults], pairs: Sequence[Pair]) -> Markup:
    scales = {one.name: formatting.scale(one.objective) for one in studies}
    apart = [_settings({**one.subjects, **one.others}) for one in pairs]
    columns = [
        text_column("First", "first", wide=True),
        text_column("less second", "second", wide=True),
        text_column("They differ in", "apart", wide=True),
        Column(
            "Difference",
            lambda row: scales[row["first"]].gap(row["difference"]),
            note=lambda row: scales[row["first"]].unit,
        ),
        Column("Interval", lambda row: scales[row["first"]].gap_interval(row["low"], row["high"])),
        Column("Seeds", lambda row: f"{row['seeds_first']} and {row['seeds_second']}"),
        number_column("Examples", "examples", formatting.count),
    ]
    return table(
        _frame(pairs).assign(apart=apart),
        columns,
        caption="Difference of the picks' mean scores on the test split.",
    )


def _settings(settings: study_comparison.Settings) -> str:
    told = []
    for name, values in settings.items():
        word = study_comparison.SUBJECTS.get(name, name.partition(".")[2].replace("_", " "))
        told.append(f"{word} {' against '.join(formatting.short(value) for value in values)}")
    return ", ".join(told)
