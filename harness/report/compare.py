"""Several studies -> one self-contained HTML page that compares them, each in its own metric."""

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
from harness.report.section import (
    Column,
    Record,
    badge,
    interval_column,
    number_column,
    table,
    text_column,
)
from harness.report.sections.ablation import TITLES

if TYPE_CHECKING:
    from harness.analysis.formatting import MetricFormat
    from harness.results import StudyResults

#: Style of the badge of a level's standing and of a study's outcome.
_TAGS: Final = {"decided": "pick", "tie": "best", "within": "best", "worse": "worse"}


def render(studies: Sequence[StudyResults]) -> str:
    """The page.

    Args:
        studies: two or more, of different names; any of them may be empty.

    Returns:
        An HTML document that loads nothing.

    Raises:
        UserError: there are fewer than two, or two of one name.
    """
    _check(studies)
    shared = study_comparison.shared_factors(studies)
    pairs = study_comparison.compare_picks(studies, _keys(studies))
    ranks = [(study, study_comparison.factor_levels(study).get("rank")) for study in studies]
    compared = [study for study in pairs if not study.obstacle]
    return page.render_page(
        "comparing.html.j2",
        names=[study.name for study in studies],
        studies=_overview(studies),
        evidence=[(study.name, recommend(study).evidence) for study in studies],
        ranks=[
            (study, _row(study), _ranks(study, frame))
            for study, frame in ranks
            if frame is not None
        ],
        without=[study.name for study, frame in ranks if frame is None],
        rank_votes=_votes(studies, "rank") if "rank" in shared else "",
        factors=[(_title(name), _votes(studies, name)) for name in shared if name != "rank"],
        pairs=_pairs(studies, compared) if compared else "",
        said=[
            (study, next((c for c in CLAIMS if c.name == study.claim), None)) for study in pairs
        ],
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
        {"study": study.name, "metric": study.objective.name, "factor": name, **row}
        for study in studies
        for name, frame in study_comparison.factor_levels(study).items()
        for row in frame.to_dict("records")
    ]
    votes = [
        {"factor": name, **row}
        for name in study_comparison.shared_factors(studies)
        for row in study_comparison.best_level_votes(studies, name).to_dict("records")
    ]
    return {
        "studies": pd.DataFrame([_row(study) for study in studies]),
        "levels": pd.DataFrame(
            levels, columns=["study", "metric", "factor", *study_comparison.LEVELS]
        ),
        "votes": pd.DataFrame(votes, columns=["factor", *study_comparison.VOTES]),
        "pairs": _frame(study_comparison.compare_picks(studies, _keys(studies))),
    }


def _check(studies: Sequence[StudyResults]) -> None:
    if len(studies) < 2:
        raise UserError(f"a comparison takes two studies or more, not {len(studies)}")
    name, count = Counter(study.name for study in studies).most_common(1)[0]
    if count > 1:
        raise UserError(f"a comparison takes studies of different names; '{name}' occurs twice")


def _pick_or_best(results: StudyResults) -> Mapping[str, Any]:
    """The pick, else the best configuration so far; empty without either."""
    advice = recommend(results)
    return advice.pick or advice.best or {}


def _keys(studies: Sequence[StudyResults]) -> dict[str, str]:
    return {study.name: str(_pick_or_best(study).get("key", "")) for study in studies}


def _row(results: StudyResults) -> dict[str, Any]:
    advice, config, objective = recommend(results), _pick_or_best(results), results.objective
    model = results.sweep.get("model")
    model = model if isinstance(model, dict) else {"name": model}
    key = config.get("key")
    costs = [configurations(results, stage) for stage in ("confirm", "ablate", "search")]
    seconds = [cost.loc[cost["key"] == key, "train_seconds"] for cost in costs]
    scored = estimates(results, "confirm", "test").set_index("key")
    score = scored.loc[key] if key in scored.index else pd.Series(dtype=float)
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
        "choice": "pick" if advice.pick else "best so far" if config else "",
        **{name: config.get(name) for name in ("key", *CONFIGURATION, "parameters")},
        "train_seconds": next((float(rows.iloc[0]) for rows in seconds if len(rows)), math.nan),
        **{name: score.get(name, math.nan) for name in ("value", "low", "high")},
        "gain": objective.sign
        * (score.get("value", math.nan) - base_model_score(results, "test")),
        **{name: score.get(name, math.nan) for name in ("seeds", "examples")},
    }


def _overview(studies: Sequence[StudyResults]) -> Markup:
    scales = {study.name: formatting.scale(study.objective) for study in studies}
    return table(
        pd.DataFrame([_row(study) for study in studies]),
        [
            Column("Study", lambda row: row["study"], numeric=False, wide=True, note=_what),
            Column("Metric", lambda row: row["metric"], numeric=False, note=_unit),
            Column("Verdict", lambda row: _tagged(row["outcome"]), numeric=False),
            Column("Configuration", formatting.label, numeric=False, wide=True, note=_so_far),
            Column(
                "Score",
                lambda row: scales[row["study"]].show(row["value"]),
                "on test",
                note=lambda row: formatting.known(
                    scales[row["study"]].interval(row["low"], row["high"])
                ),
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
    return ", ".join(
        str(part) for part in parts if not formatting.missing(part) and part != "none"
    )


def _direction(row: Record) -> str:
    return "higher is better" if row["direction"] == "maximize" else "lower is better"


def _unit(row: Record) -> str:
    unit = "" if row["unit"] == row["metric"] else row["unit"]
    return Markup("{}<br>{}").format(unit, _direction(row)) if unit else _direction(row)


def _so_far(row: Record) -> str:
    rate = f"lr {formatting.rate(row['learning_rate'])}" if row["choice"] else ""
    return f"{rate}, best so far" if row["choice"] == "best so far" else rate


def _examples(row: Record) -> str:
    return formatting.known(formatting.count(row["examples"]))


def _title(factor: str) -> str:
    return TITLES.get(factor, factor.replace("_", " ").capitalize())


def _gap(scale: MetricFormat, row: Record) -> str:
    return formatting.known(scale.gap_interval(row["lower"], row["upper"]))


def _ranks(results: StudyResults, frame: pd.DataFrame) -> Markup:
    scale = formatting.scale(results.objective)
    return table(
        frame,
        [
            number_column("Rank", "level", formatting.count),
            interval_column("Score", scale),
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
    for study in studies:
        if factor in (levels := study_comparison.factor_levels(study)):
            columns.append(_study(study, levels[factor]))
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
        level_row = rows.get(row["level"])
        return scale.gap(level_row["difference_to_best"]) if level_row else formatting.MISSING

    def note(row: Record) -> str:
        if (level_row := rows.get(row["level"])) is None:
            return ""
        return Markup("{}<br>{}").format(_gap(scale, level_row), _tagged(level_row["standing"]))

    return Column(results.name, show, scale.unit, note=note)


def _frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    frame = pd.DataFrame(pairs, columns=list(Pair._fields))
    frame["subjects"] = [_settings(pair.subjects) for pair in pairs]
    return frame.assign(others=[_settings(pair.others) for pair in pairs])


def _pairs(studies: Sequence[StudyResults], pairs: Sequence[Pair]) -> Markup:
    scales = {item.name: formatting.scale(item.objective) for item in studies}
    differing = [_settings({**item.subjects, **item.others}) for item in pairs]
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
        _frame(pairs).assign(apart=differing),
        columns,
        caption="Difference of the picks' mean scores on the test split.",
    )


def _settings(settings: study_comparison.Settings) -> str:
    parts = []
    for name, values in settings.items():
        label = study_comparison.SUBJECTS.get(name, name.partition(".")[2].replace("_", " "))
        parts.append(f"{label} {' against '.join(formatting.short(value) for value in values)}")
    return ", ".join(parts)
