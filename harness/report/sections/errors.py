"""Errors: the texts on which the pick differs most from others, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from harness.analysis import error_analysis
from harness.analysis.scores import configurations
from harness.report import formatting
from harness.report.section import (
    Column,
    Record,
    Section,
    number_column,
    register,
    render_template,
    table,
    text_column,
)

if TYPE_CHECKING:
    from harness.analysis.error_analysis import ComparedConfigurations
    from harness.results import StudyResults


#: Longer texts are cut, around what is marked in them.
_LONGEST = 600
_LABEL = 30  # glyphs of a label
_NO_TEXTS = "Texts are read from the task's files, which are not available here."


class Piece(NamedTuple):
    """An entity of the text.

    Attributes:
        start: where it stands.
        surface: its form.
        label: what it is.
        found: for each of those who are looked at, in how many of their seeds.
        seeds: for each of them, how many seeds there are.
    """

    start: int
    surface: str
    label: str
    found: tuple[int, ...]
    seeds: tuple[int, ...]


def highlight_spans(answers: pd.DataFrame, names: Sequence[str]) -> list[Piece]:
    """The entities of one text, in their order.

    Args:
        answers: rows of `Texts.answers` of one example.
        names: who is looked at.
    """
    gold = answers[answers["outcome"] != "spurious"]
    spans = []
    for entity in gold[["start", "surface", "label"]].drop_duplicates().to_dict("records"):
        same = (gold["start"] == entity["start"]) & (gold["label"] == entity["label"])
        rows = gold[same & (gold["surface"] == entity["surface"])]
        by_name = [rows[rows["who"] == name] for name in names]
        right = tuple(int((answered["outcome"] == "found").sum()) for answered in by_name)
        seeds = tuple(len(answered) for answered in by_name)
        fields = (int(entity["start"]), str(entity["surface"]), str(entity["label"]))
        spans.append(Piece(*fields, right, seeds))
    return sorted(spans)


def spurious(answers: pd.DataFrame, name: str, seeds: int) -> list[str]:
    """What one of them said that nobody asked for: `aspirin as DOSAGE 2/5`, most frequent first.

    Args:
        answers: rows of `Texts.answers` of one example.
        name: who said it.
        seeds: how many of its seeds were read.
    """
    rows = answers[(answers["who"] == name) & (answers["outcome"] == "spurious")]
    counts = rows.groupby(["surface", "label"])["seed"].nunique().reset_index(name="count")
    order = counts.sort_values(["count", "surface", "label"], ascending=[False, True, True])
    return [
        f"{formatting.short(row['surface'])} as {formatting.truncate(row['label'], _LABEL)} "
        f"{_of(row['count'], seeds)}"
        for row in order.to_dict("records")
    ]


def highlight(text: str, spans: Sequence[Piece]) -> Markup:
    """A text with its entities marked.

    An entity is marked by how often the first of those who are looked at found it: in all seeds,
    in some, in none; behind it stand its label and the counts of all.

    Args:
        text: as it was given to the model.
        spans: from `highlight_spans`; those that overlap an earlier one are left unmarked.
    """
    parts: list[Markup] = []
    begin, end = _window(text, spans)
    if begin:
        parts.append(Markup("&hellip; "))
    at = begin
    for piece in spans:
        stop = piece.start + len(piece.surface)
        if piece.start < at or stop > end:
            continue
        parts.append(escape(text[at : piece.start]))
        counts = " · ".join(map(_of, piece.found, piece.seeds))
        parts.append(
            Markup('<mark class="{}">{}<small> {} {}</small></mark>').format(
                _kind(piece),
                text[piece.start : stop],
                formatting.truncate(piece.label, _LABEL),
                counts,
            )
        )
        at = stop
    parts.append(escape(text[at:end]))
    if end < len(text):
        parts.append(Markup(" &hellip;"))
    return Markup("").join(parts)


def _window(text: str, spans: Sequence[Piece]) -> tuple[int, int]:
    """The part of a long text to show: from a little before its first entity on."""
    if len(text) <= _LONGEST:
        return 0, len(text)
    first = max(0, min((piece.start for piece in spans), default=0) - _LONGEST // 6)
    return first, min(len(text), first + _LONGEST)


def _kind(piece: Piece) -> str:
    if piece.found[0] == 0:
        return "missed"
    return "found" if piece.found[0] == piece.seeds[0] else "partly"


def _of(count: int, seeds: int) -> str:
    return f"{count}/{seeds}" if seeds else "0"


def cut(text: str) -> str:
    """A text's beginning, if it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


#: Examples shown on which the chief is better, and on which it is worse, against each other one.
AHEAD: Final = 3
BEHIND: Final = 2
#: Confusions shown.
TOP: Final = 12


def differences_table(results: StudyResults) -> pd.DataFrame:
    """The examples that are shown.

    Returns:
        against (the other one's name), example, ahead (whether the chief is), chief and other:
        how good each is there, more being better, mean over seeds.
    """
    columns = ["against", "example", "ahead", "chief", "other"]
    compared = error_analysis.compared_configurations(results)
    if compared is None:
        return pd.DataFrame(columns=columns)
    scores = error_analysis.by_example(results, compared)
    rows = []
    for key in compared.names[1:]:
        for ahead, count in ((True, AHEAD), (False, BEHIND)):
            pair = (compared.chief, key) if ahead else (key, compared.chief)
            for name in error_analysis.largest_differences(scores, *pair, count):
                of_chief, of_other = scores.loc[name, [compared.chief, key]].to_numpy(dtype=float)
                rows.append((key, name, ahead, of_chief, of_other))
    return pd.DataFrame(rows, columns=columns)


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """Differences, confusions, scores by length, recall by whether a form was seen."""
    tables = {"differences": differences_table(results)}
    compared = error_analysis.compared_configurations(results)
    if compared is not None:
        tables["confusions"] = error_analysis.confusions(results, compared)
        tables["by_length"] = error_analysis.by_length(results, compared)
        tables["by_known"] = error_analysis.by_seen_in_training(results, compared)
    return tables


def render(results: StudyResults) -> str:
    """The section's HTML."""
    compared, texts = error_analysis.compared_configurations(results), results.texts
    if compared is None:
        return render_template("errors.html.j2", compared=None)
    names = configuration_names(results, compared)
    return render_template(
        "errors.html.j2",
        compared=compared,
        names=[names[name] for name in compared.names],
        entities=texts is not None and bool((texts.answers["surface"] != "").any()),
        hidden="" if texts is None else texts.hidden,
        missing=_NO_TEXTS if texts is None else texts.missing,
        groups=_groups(results, compared, names),
        confusions=_confusions(results, compared),
        lengths=_lengths(results, compared, names),
        known=_known(results, compared, names),
        split=compared.split,
    )


def _role(compared: ComparedConfigurations) -> str:
    return "the pick" if compared.picked else "the best so far"


def configuration_names(results: StudyResults, compared: ComparedConfigurations) -> dict[str, str]:
    """What each of the compared is called, by its key or its baseline's name."""
    rows = configurations(results, compared.stage).set_index("key")
    names = {
        name: formatting.label({str(k): v for k, v in rows.loc[name].items()}, rate_too=False)
        for name in compared.names
        if name in rows.index
    }
    names[compared.chief] = f"{names[compared.chief]} ({_role(compared)})"
    if compared.base is not None:
        names[compared.base] = formatting.baseline_label(compared.base)
    return names


def _groups(
    results: StudyResults, compared: ComparedConfigurations, names: dict[str, str]
) -> list[dict[str, Any]]:
    """For each of the others the examples that tell it from the chief."""
    texts = results.texts
    differences = differences_table(results)
    if texts is None or texts.passages.empty or texts.hidden:
        return []
    passages = texts.passages.assign(example=texts.passages["example"].astype(str))
    passages = passages.set_index("example")
    groups = []
    for key in compared.names[1:]:
        rows = differences[
            (differences["against"] == key) & differences["example"].isin(passages.index)
        ]
        blocks = [
            {
                "title": f"{row['example']}: "
                f"{_role(compared) if row['ahead'] else names[key]} is better",
                "body": _example(results, compared, key, str(row["example"]), passages, names),
            }
            for row in rows.to_dict("records")
        ]
        groups.append({"name": names[key], "blocks": blocks})
    return groups


def _example(
    results: StudyResults,
    compared: ComparedConfigurations,
    key: str,
    example: str,
    passages: pd.DataFrame,
    names: dict[str, str],
) -> Markup:
    assert results.texts is not None
    pair = (compared.chief, key)
    answers = results.texts.answers
    answers = answers[(answers["example"].astype(str) == example) & answers["who"].isin(pair)]
    passage = passages.loc[example]
    entities = bool((answers["surface"] != "").any())
    if entities:
        spans = highlight_spans(answers, pair)
        seeds = results.texts.answers.groupby("who")["seed"].nunique()
        extras = [(names[n], spurious(answers, n, int(seeds.get(n, 1)))) for n in pair]
        text = highlight(str(passage["text"]), spans)
        lines = [(name, "; ".join(forms)) for name, forms in extras if forms]
        return render_template(
            "errors_text.html.j2", text=text, lines=lines, heading="False positives:"
        )
    lines = [("wanted", cut(str(passage["answer"])))]
    lines += [(names[name], _written(results, compared, name, example)) for name in pair]
    text = Markup("{}").format(cut(str(passage["text"])))
    return render_template("errors_text.html.j2", text=text, lines=lines, heading="")


def _written(
    results: StudyResults, compared: ComparedConfigurations, name: str, example: str
) -> Markup:
    """What was written to an example, different answers with the number of their seeds."""
    rows = error_analysis.rows_of(results, compared, name)
    rows = rows[rows["example"].astype(str) == example]
    counts = rows["prediction"].astype(str).str.strip().value_counts(sort=True)
    answers = len(rows)
    # Set apart, so that a text from right to left does not draw its count into itself.
    texts = [
        Markup("<bdi>{}</bdi>{}").format(
            cut(str(text) or "nothing"), f" ({count}/{answers})" if answers > 1 else ""
        )
        for text, count in list(counts.items())[:3]
    ]
    return Markup(" | ").join(texts)


def _confusions(results: StudyResults, compared: ComparedConfigurations) -> Markup:
    frame = error_analysis.confusions(results, compared)
    columns = [
        text_column("Gold label", "label"),
        Column(
            "Predicted", lambda row: formatting.short(row["instead"]) or "nothing", numeric=False
        ),
        number_column("Count", "count", formatting.number, "per seed"),
        Column("Share", lambda row: formatting.percent(row["share"]), "% of that label"),
    ]
    more = f", the first {TOP} of {len(frame)}" if len(frame) > TOP else ""
    return table(frame.head(TOP), columns, caption=f"Missed entities (false negatives){more}.")


def _lengths(
    results: StudyResults, compared: ComparedConfigurations, names: dict[str, str]
) -> Markup | None:
    frame = error_analysis.by_length(results, compared)
    if len(frame) < 2:
        return None
    scale = formatting.scale(results.objective)

    def span(row: Record) -> str:
        low, high = int(row["low"]), int(row["high"])
        return f"{low}" if low == high else f"{low} to {high}"

    columns = [Column("Words", span), number_column("Examples", "examples", formatting.count)]
    columns += [
        number_column(names[name], name, scale.show, scale.unit) for name in compared.names
    ]
    caption = f"Scores by the length of the input, {compared.split} split."
    return table(frame, columns, caption=caption)


def _known(
    results: StudyResults, compared: ComparedConfigurations, names: dict[str, str]
) -> Markup:
    frame = error_analysis.by_seen_in_training(results, compared)
    columns = [
        Column(
            "Entities",
            lambda row: f"{'' if row['known'] else 'never '}seen in training",
            numeric=False,
        ),
        number_column("In the texts", "entities", formatting.count),
    ]
    columns += [
        number_column(names[name], name, formatting.percent, "% found") for name in compared.names
    ]
    return table(frame, columns, caption="Recall for surface forms seen and not seen in training.")


register(Section("errors", "Errors", 57, render, tables))
