from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.data.rows import FORMATS, Format, Leak, Row, RowSpec, Span, find_leaks, fingerprint
from harness.errors import UserError

ROWS = (
    Row(
        "a-0", "Gout — on colchicine.", (Span(0, 4, "C", "Gout"), Span(10, 20, "M", "colchicine"))
    ),
    Row("a-1", "No complaints."),
)
PAIRS = (
    Row("a-0", "How,\nare you?", output='He said "fine".'),
    Row("a-1", "Then?", output="Nothing."),
)
#: CoNLL keeps tokens, not texts, and numbers its sentences.
SENTENCES = (
    Row("rows1", "Gout — on colchicine .", ROWS[0].entities),
    Row("rows2", "No complaints ."),
)


def plain(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    if rows is not PAIRS:
        return [row.to_dict() for row in rows]
    return [{"id": row.id, "input": row.text, "output": row.output} for row in rows]


def as_jsonl(folder: Path) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in plain(ROWS))
    return made(folder / "rows.jsonl", text)


def made(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def as_delimited(folder: Path, name: str) -> Path:
    path = folder / f"rows.{name}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(
            file, ["id", "input", "output"], delimiter="," if name == "csv" else "\t"
        )
        writer.writeheader()
        writer.writerows(plain(PAIRS))
    return path


def as_conll(folder: Path) -> Path:
    lines = []
    for row in SENTENCES:
        place = 0
        for token in row.text.split():
            found = [span.label for span in row.entities if span.start == place]
            lines.append(f"{token}\t{'B-' + found[0] if found else 'O'}")
            place += len(token) + 1
        lines.append("")
    return made(folder / "rows.conll", "\n".join(lines))


def as_pubtator(folder: Path) -> Path:
    blocks = []
    for row in ROWS:
        title, _, abstract = row.text.partition(" ")
        lines = [f"{row.id}|t|{title}", f"{row.id}|a|{abstract}"]
        lines += [f"{row.id}\t{s.start}\t{s.end}\t{s.text}\t{s.label}\tX1" for s in row.entities]
        blocks.append("\n".join(lines) + "\n")
    return made(folder / "rows.txt", "\n".join(blocks))


def as_brat(folder: Path) -> Path:
    place = folder / "rows"
    place.mkdir()
    for row in ROWS:
        made(place / f"{row.id}.txt", row.text)
        spans = enumerate(row.entities, start=1)
        notes = [f"T{n}\t{s.label} {s.start} {s.end}\t{s.text}\n" for n, s in spans]
        made(place / f"{row.id}.ann", "".join(notes))
    return place


def as_parquet(folder: Path) -> Path:
    table().to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def as_saved(folder: Path) -> Path:
    table().save_to_disk(folder / "rows")
    return folder / "rows"


def table() -> Any:
    from datasets import Dataset

    return Dataset.from_list(plain(ROWS))


class Sample(NamedTuple):
    rows: tuple[Row, ...]
    write: Callable[[Path], Path]
    kind: str = "entities"


#: A format that is added here has its contract tested.
SAMPLES = {
    "jsonl": Sample(ROWS, as_jsonl),
    "csv": Sample(PAIRS, partial(as_delimited, name="csv"), "pairs"),
    "tsv": Sample(PAIRS, partial(as_delimited, name="tsv"), "pairs"),
    "conll": Sample(SENTENCES, as_conll),
    "pubtator": Sample(ROWS, as_pubtator),
    "brat": Sample(ROWS, as_brat),
    "parquet": Sample(ROWS, as_parquet),
    "saved": Sample(ROWS, as_saved),
}


@pytest.fixture(params=FORMATS.names())
def reader(request: pytest.FixtureRequest) -> Format:
    return FORMATS.get(request.param)


def test_counts_agree_and_offsets_hold(reader: Format, tmp_path: Path) -> None:
    sample = SAMPLES[reader.name]
    rows = reader.read(sample.write(tmp_path), RowSpec(sample.kind))
    assert rows == sample.rows
    for row in rows:
        for entity in row.entities:
            assert row.text[entity.start : entity.end] == entity.text


def test_reading_twice_gives_the_same_fingerprint(reader: Format, tmp_path: Path) -> None:
    sample = SAMPLES[reader.name]
    path = sample.write(tmp_path)
    first, second = (fingerprint(reader.read(path, RowSpec(sample.kind))) for _ in range(2))
    assert first == second == fingerprint(sample.rows)


def test_a_survey_counts_what_is_read(reader: Format, tmp_path: Path) -> None:
    sample = SAMPLES[reader.name]
    found = reader.survey(sample.write(tmp_path))
    counts = {found.get("rows"), found.get("docs"), found.get("sentences")}
    assert counts == {None, len(sample.rows)}


def test_a_label_that_the_task_does_not_know_is_told(reader: Format, tmp_path: Path) -> None:
    sample = SAMPLES[reader.name]
    if sample.kind == "entities":
        with pytest.raises(UserError, match="unknown label 'C'; did you mean"):
            reader.read(sample.write(tmp_path), RowSpec("entities", ("M", "CC")))


def test_a_file_that_is_not_there_is_told(reader: Format, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing"):
        reader.read(tmp_path / "nothing", RowSpec(SAMPLES[reader.name].kind))


def test_the_fingerprint_changes_with_any_row_and_with_their_order() -> None:
    changed = (ROWS[0], Row("a-1", "No complaint."))
    assert len({fingerprint(rows) for rows in (ROWS, changed, ROWS[::-1], ROWS[:1])}) == 4


def test_the_fingerprint_is_the_same_everywhere() -> None:
    assert fingerprint(ROWS) == (
        "588f7f4f5e80e7e54de88386361836897c71fd04ca74ff7a4ca04f1df804e5a6"
    )


def test_a_document_is_what_stands_before_the_last_dash() -> None:
    assert [Row(name, "x").document for name in ("12-3-4", "12", "-1")] == ["12-3", "12", "-1"]


def test_a_leak_is_the_same_text_in_two_splits() -> None:
    train = (Row("t-0", "Gout today."), Row("t-1", "Gout today."), Row("t-2", "Asthma."))
    test = (Row("e-0", "gout  TODAY."), Row("e-1", "Asthma"))
    assert find_leaks({"train": train, "test": test}) == (Leak("test", "e-0", "train", "t-0"),)
    assert find_leaks({"train": train, "test": test[1:]}) == ()


def test_a_leak_of_pairs_is_the_same_instruction_and_input() -> None:
    rows = {
        "train": [Row("a", "x", output="1", instruction="Do  it.")],
        "test": [
            Row("b", "X", output="2", instruction="do it."),
            Row("c", "x", output="1", instruction="Leave it."),
            Row("d", "x", output="1"),
        ],
    }
    assert find_leaks(rows) == (Leak("test", "b", "train", "a"),)


def test_score_and_group_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    record = {"id": "a", "text": "x", "rating": "4.5", "patient": 7}
    path = made(tmp_path / "rows.jsonl", json.dumps(record))
    reader = FORMATS.get("jsonl")
    plain = reader.read(path, RowSpec("text"))
    assert (plain[0].score, plain[0].group) == (None, None)
    (row,) = reader.read(path, RowSpec("text", score="rating", group="patient"))
    assert (row.score, row.group) == (4.5, "7")
    assert fingerprint(plain) == fingerprint([Row("a", "x")])
    assert fingerprint([row]) != fingerprint(plain)


@pytest.mark.parametrize(
    ("record", "wanted", "told"),
    [
        (
            {"rating": True},
            RowSpec("text", score="rating"),
            "'rating' is true; it should be a num",
        ),
        ({"rating": "nan"}, RowSpec("text", score="rating"), "'rating' is \"nan\"; it should be"),
        (
            {"rating": None},
            RowSpec("text", score="rating"),
            "'rating' is null; it should be a num",
        ),
        ({}, RowSpec("text", score="rating"), "no 'rating'; the row has: id, text"),
        (
            {"who": ""},
            RowSpec("text", group="who"),
            "'who' is \"\"; it should be a name or a whole",
        ),
        ({"who": [1]}, RowSpec("text", group="who"), "'who' is \\[1\\]; it should be a name"),
    ],
)
def test_a_score_or_a_group_that_is_none_is_told(
    record: dict[str, Any], wanted: RowSpec, told: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "rows.jsonl", json.dumps({"id": "a", "text": "x", **record}))
    with pytest.raises(UserError, match=rf"rows\.jsonl:1: {told}"):
        FORMATS.get("jsonl").read(path, wanted)
