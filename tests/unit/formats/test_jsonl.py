from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.data.rows import Row, Span, Wanted
from harness.data.tabular import JSONL
from harness.errors import UserError

SHARED = Path(
    os.environ.get("HARNESS_SHARED_DATA")
    or Path(__file__).resolve().parents[4] / "shared" / "data"
)


def entity(start: Any = 0, end: Any = 4, label: Any = "CONDITION", **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, **more}


def row(*entities: Any, text: Any = "Gout and asthma.", **more: Any) -> dict[str, Any]:
    return {"id": "n-0", "text": text, "entities": list(entities), **more}


def read(
    folder: Path,
    *lines: bytes | dict[str, Any],
    kind: str = "entities",
    labels: tuple[str, ...] | None = None,
) -> tuple[Row, ...]:
    path = folder / "train.jsonl"
    whole = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
    path.write_bytes(b"\n".join(whole) + b"\n")
    return JSONL.read(path, Wanted(kind, labels))


def test_entities_come_in_the_order_of_the_text(tmp_path: Path) -> None:
    given = row(entity(9, 15, text="asthma"), entity(0, 4, text="Gout"))
    (found,) = read(tmp_path, given)
    assert found.entities == (Span(0, 4, "CONDITION", "Gout"), Span(9, 15, "CONDITION", "asthma"))


def test_offsets_count_code_points(tmp_path: Path) -> None:
    given = row(entity(3, 7, text="gout"), text="😀é gout")
    assert read(tmp_path, given)[0].entities[0].text == "gout"


def test_input_and_output(tmp_path: Path) -> None:
    given = {"id": 7, "input": "How are you?", "output": "Fine."}
    assert read(tmp_path, given, kind="pairs") == (Row("7", "How are you?", output="Fine."),)


def test_plain_text_and_a_row_without_an_id(tmp_path: Path) -> None:
    assert read(tmp_path, {"text": "One."}, {"text": "Two."}, kind="text") == (
        Row("train1", "One."),
        Row("train2", "Two."),
    )


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    first = b"\xef\xbb\xbf" + json.dumps(row()).encode() + b"\r"
    assert len(read(tmp_path, first, b"", b"  ", row(id="n-1"))) == 2


FAULTS: dict[str, tuple[Any, str]] = {
    "bad json": (b'{"id": "n-0", "text": }', "not JSON: Expecting value at character 23"),
    "not utf-8": (b'{"id": "\xff"}', "byte 9 is not UTF-8; save the file as UTF-8"),
    "a list": (b"[1]", "a JSON list where an object {...} should stand"),
    "no text": ({"id": "n", "entities": []}, "no 'text'; the row has: id, entities"),
    "empty text": (row(text=" \n"), "'text' is empty; leave the row out or give it a text"),
    "text no text": (row(text=5), "'text' is 5; it should be a text"),
    "empty id": (row(id=""), "'id' is \"\"; give a text that is not empty"),
    "no entities": ({"id": "n", "text": "x"}, "no 'entities'; a text without any has"),
    "entities no list": ({"id": "n", "text": "x", "entities": {}}, "'entities' is {}"),
    "entity no object": (row("gout"), 'entities[0] is "gout"; it should be an object'),
    "offset no number": (row(entity(), entity("5")), 'entities[1].start is "5"'),
    "offset a truth": (row(entity(end=True)), "entities[0].end is true"),
    "offset missing": (row({"start": 0, "label": "C"}), "entities[0].end is null"),
    "beyond the end": (row(entity(9, 99)), "offsets 9..99 do not lie in the text of 16 char"),
    "negative": (row(entity(-3, 2)), "offsets -3..2 do not lie in the text"),
    "turned round": (row(entity(4, 4)), "offsets 4..4 do not lie in the text"),
    "other text": (
        row(entity(0, 5, text="Gout")),
        'entities[0]: \'text\' is "Gout", but text[0:5] is "Gout "',
    ),
    "blank": (row(entity(4, 5)), "entities[0]: text[4:5] is blank"),
    "no label": (row({"start": 0, "end": 4}), "entities[0].label is null"),
    "label with a mark": (row(entity(label="A|B")), 'entities[0].label is "A|B"; a label has no'),
    "unknown label": (
        row(entity(label="CONDITON")),
        "entities[0]: unknown label 'CONDITON'; did you mean 'CONDITION'?",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_file_and_line(fault: str, tmp_path: Path) -> None:
    line, message = FAULTS[fault]
    with pytest.raises(UserError) as told:
        read(tmp_path, row(id="first"), line, labels=("CONDITION", "MEDICATION"))
    assert str(told.value).startswith(f"{tmp_path / 'train.jsonl'}:2: ")
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_an_id_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl:3: id 'n-0' already stands in line 1"):
        read(tmp_path, row(), row(id="n-1"), row())


def test_output_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'output'; the row has: id, input"):
        read(tmp_path, {"id": "1", "input": "x"}, kind="pairs")


def test_an_empty_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl: no rows; give one JSON object a line"):
        read(tmp_path, b"")
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read \(No such file"):
        JSONL.read(tmp_path / "none.jsonl", Wanted("entities"))


@pytest.mark.parametrize(
    ("folder", "kind", "counts"),
    [
        ("maccrobat4", "entities", {"train": 3123, "validation": 563}),
        ("ncbi_disease", "entities", {"train": 5710, "validation": 940, "test": 960}),
        ("meqsum", "pairs", {"train": 700, "validation": 100}),
        ("medquad_lm", "text", {"train": 5643, "validation": 933}),
    ],
)
def test_public_data_are_read_whole(folder: str, kind: str, counts: dict[str, int]) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no public data at {SHARED / folder}; set HARNESS_SHARED_DATA")
    for split, count in counts.items():
        rows = JSONL.read(SHARED / folder / f"{split}.jsonl", Wanted(kind))
        assert len(rows) == count


def test_a_json_file_may_be_one_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('\n[{"text": "One."},\n {"text": "Two."}]')
    assert [one.text for one in JSONL.read(path, Wanted("text"))] == ["One.", "Two."]
    assert JSONL.survey(path) == {"rows": 2, "keys": {"text": 2}}
    for content, told in (
        ('[{"text": "One."}, 5]', "train.json: row 2: a JSON int where an object"),
        ('[{"text": "One."}\n{}]', "train.json:2: not JSON: Expecting ',' delimiter"),
    ):
        path.write_text(content)
        with pytest.raises(UserError) as fault:
            JSONL.read(path, Wanted("text"))
        assert told in str(fault.value)
