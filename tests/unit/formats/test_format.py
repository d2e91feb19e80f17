from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.formats import FORMATS, Format, Leak, Row, Span, fingerprint, leaks

ROWS = (
    Row(
        "a-0", "Gout — on colchicine.", (Span(0, 4, "C", "Gout"), Span(10, 20, "M", "colchicine"))
    ),
    Row("a-1", "No complaints."),
)


def written(name: str, folder: Path) -> Path:
    """`ROWS` as a file of that format."""
    assert name == "jsonl", f"write a sample of '{name}' here, so that its contract is tested"
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row.plain()) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture(params=FORMATS.names())
def reader(request: pytest.FixtureRequest) -> Format:
    return FORMATS.get(request.param)


def test_counts_agree_and_offsets_hold(reader: Format, tmp_path: Path) -> None:
    rows = reader.read(written(reader.name, tmp_path), "entities", None)
    assert rows == ROWS
    for row in rows:
        for entity in row.entities:
            assert row.text[entity.start : entity.end] == entity.text


def test_reading_twice_gives_the_same_fingerprint(reader: Format, tmp_path: Path) -> None:
    path = written(reader.name, tmp_path)
    first, second = (fingerprint(reader.read(path, "entities", None)) for _ in range(2))
    assert first == second == fingerprint(ROWS)


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
    assert leaks({"train": train, "test": test}) == (Leak("test", "e-0", "train", "t-0"),)
    assert leaks({"train": train, "test": test[1:]}) == ()
