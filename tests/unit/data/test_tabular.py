"""Files in their original formats: every importer finds what was counted there by other means."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from harness.data import tabular
from harness.data.rows import FORMATS, Row, RowSpec, Span
from harness.data.tabular import CSV, JSONL, PARQUET, SAVED, TSV
from harness.errors import UserError

PAIRS = RowSpec("pairs")


def file(folder: Path, text: str | bytes, name: str = "dev.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_quotes_hold_line_ends_commas_and_quotes(tmp_path: Path) -> None:
    text = 'input,output\r\n"one,\r\n""two""",yes\r\nthree,"no"\r\n'
    rows = CSV.read(file(tmp_path, text), PAIRS)
    assert rows == (
        Row("dev2", 'one,\r\n"two"', output="yes"),
        Row("dev4", "three", output="no"),  # called by the line that it begins in
    )


def test_columns_are_found_by_their_names_in_task_yaml(tmp_path: Path) -> None:
    path = file(tmp_path, "\ufeffID\tquery\tintent\n5\tHow?\task\n", "dev.tsv")
    wanted = RowSpec("pairs", fields={"id": "ID", "input": "query", "output": "intent"})
    assert TSV.read(path, wanted) == (Row("5", "How?", output="ask"),)


def test_an_instruction_may_need_no_input(tmp_path: Path) -> None:
    text = "instruction,input,output\nSay hi.,,hi\nAdd.,1+1,2\n"
    rows = CSV.read(file(tmp_path, text), PAIRS)
    assert [(row.instruction, row.text, row.output) for row in rows] == [
        ("Say hi.", "", "hi"),
        ("Add.", "1+1", "2"),
    ]


def test_plain_text(tmp_path: Path) -> None:
    assert CSV.read(file(tmp_path, "text\nOne.\n"), RowSpec("text")) == (Row("dev2", "One."),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("input,outputs\na,b\n", ":1: no column 'output'; did you mean 'outputs'? (fields:"),
        ("input,output\na,b,c\n", ":2: 3 values for 2 columns (input, output); a value with the"),
        ("input,output\na\n", ":2: 1 values for 2 columns"),
        ('input,output\na,b\n"c,d\n', ":3: "),
        ('input,output\n"a"b,c\n', ":2: "),
        ("input,output\na,\n", ":2: 'output' is empty"),
        ("input,input\na,b\n", ":1: column 'input' occurs twice"),
        ("input,,output\na,b,c\n", ":1: a column has no name"),
        ("", ": empty; the file should have a line of column names"),
        ("input,output\n", ": no rows; the file should have a line of column names"),
        (b"input,output\na,\xff\n", ":2: byte 16 of the file is not UTF-8"),
        (b"input,output\na,\0\n", ":2: a NUL byte"),
        ("id,input,output\n1,a,b\n\n1,c,d\n", ":4: id '1' is already used in line 2"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as fault:
        CSV.read(file(tmp_path, text), PAIRS)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_it_holds_no_entities(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="csv cannot hold entities; use jsonl, conll"):
        CSV.read(file(tmp_path, "text\nx\n"), RowSpec("entities"))


RAW = (
    Path(
        os.environ.get("HARNESS_SHARED_DATA")
        or Path(__file__).resolve().parents[4] / "shared/data"
    )
    / "raw"
)
needs_raw = pytest.mark.skipif(
    not RAW.is_dir(), reason=f"no raw files at {RAW}; set HARNESS_SHARED_DATA"
)
#: File (or folder), format, what rows are, and fields where the file calls them otherwise.
FILES: dict[str, tuple[str, str, dict[str, str]]] = {
    "brat_maccrobat": ("brat", "entities", {}),
    "conll/ncbi_disease_devel_IOB.tsv": ("conll", "entities", {}),
    "conll/ncbi_disease_devel_IOBES.tsv": ("conll", "entities", {}),
    "pubtator/ncbi_disease_devel_pubtator.txt": ("pubtator", "entities", {}),
    "csv/banking77_train.csv": ("csv", "pairs", {"input": "text", "output": "category"}),
    "csv/mts_dialog_validation.csv": (
        "csv",
        "pairs",
        {"id": "ID", "input": "dialogue", "output": "section_text"},
    ),
    "jsonl/gsm8k_train_first200.jsonl": (
        "jsonl",
        "pairs",
        {"input": "question", "output": "answer"},
    ),
}


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RAW / "EXPECTED.json").read_text(encoding="utf-8"))
    return found


@needs_raw
@pytest.mark.parametrize("name", FILES)
def test_a_survey_finds_the_expected_counts(name: str) -> None:
    found = FORMATS.get(FILES[name][0]).survey(RAW / name)
    for key, count in expected()[name].items():
        got = list(found[key]) if key == "keys" else found[key]
        assert got == count, key


@needs_raw
@pytest.mark.parametrize("name", FILES)
def test_rows_are_as_many_and_every_entity_stands_at_its_offsets(name: str) -> None:
    reader, kind, fields = FILES[name]
    rows = FORMATS.get(reader).read(RAW / name, RowSpec(kind, fields=fields))
    counts = expected()[name]
    assert len(rows) == next(counts[key] for key in ("rows", "docs", "sentences") if key in counts)
    spans = [(row, span) for row in rows for span in row.entities]
    assert all(row.text[span.start : span.end] == span.text for row, span in spans)
    by_label = counts.get("T_labels") or counts.get("mentions") or counts.get("entities") or {}
    assert len(spans) == sum(by_label.values())


@needs_raw
def test_every_file_with_a_count_is_read() -> None:
    assert set(FILES) == set(expected())


@needs_raw
def test_both_schemes_of_the_same_sentences_give_the_same_entities() -> None:
    files = [RAW / "conll" / f"ncbi_disease_devel_{scheme}.tsv" for scheme in ("IOB", "IOBES")]
    first, second = (FORMATS.get("conll").read(path, RowSpec("entities")) for path in files)
    assert [row.entities for row in first] == [row.entities for row in second]


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
    return JSONL.read(path, RowSpec(kind, labels))


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
    "a list": (b"[1]", "a JSON list instead of an object {...}"),
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
    "beyond the end": (row(entity(9, 99)), "offsets 9..99 are outside the text of 16 char"),
    "negative": (row(entity(-3, 2)), "offsets -3..2 are outside the text"),
    "turned round": (row(entity(4, 4)), "offsets 4..4 are outside the text"),
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
    with pytest.raises(UserError, match=r"train\.jsonl:3: id 'n-0' is already used in line 1"):
        read(tmp_path, row(), row(id="n-1"), row())


def test_output_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 'output'; the row has: id, input"):
        read(tmp_path, {"id": "1", "input": "x"}, kind="pairs")


def test_an_empty_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl: no rows; give one JSON object per line"):
        read(tmp_path, b"")
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read \(No such file"):
        JSONL.read(tmp_path / "none.jsonl", RowSpec("entities"))


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
        rows = JSONL.read(SHARED / folder / f"{split}.jsonl", RowSpec(kind))
        assert len(rows) == count


def test_a_json_file_may_be_one_list_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    path.write_text('\n[{"text": "One."},\n {"text": "Two."}]')
    assert [one.text for one in JSONL.read(path, RowSpec("text"))] == ["One.", "Two."]
    assert JSONL.survey(path) == {"rows": 2, "keys": {"text": 2}}
    for content, told in (
        ('[{"text": "One."}, 5]', "train.json: row 2: a JSON int instead of an object"),
        ('[{"text": "One."}\n{}]', "train.json:2: not JSON: Expecting ',' delimiter"),
    ):
        path.write_text(content)
        with pytest.raises(UserError) as fault:
            JSONL.read(path, RowSpec("text"))
        assert told in str(fault.value)


TAGGED = {
    "tokens": [["Gout", "hurts"], ["Fine", "."]],
    "ner_tags": [[1, 0], [0, 0]],
}
FEATURES = Features(
    {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "B-C", "I-C"]))}
)


def test_tags_kept_as_numbers_become_entities(tmp_path: Path) -> None:
    Dataset.from_dict(TAGGED, features=FEATURES).save_to_disk(tmp_path / "dev")
    assert SAVED.read(tmp_path / "dev", RowSpec("entities")) == (
        Row("dev1", "Gout hurts", (Span(0, 4, "C", "Gout"),)),
        Row("dev2", "Fine ."),
    )


def test_classes_kept_as_numbers_become_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).save_to_disk(
        tmp_path / "dev"
    )
    wanted = RowSpec("pairs", fields={"input": "text", "output": "label"})
    assert [row.output for row in SAVED.read(tmp_path / "dev", wanted)] == ["yes", "no"]


def test_the_folder_above_the_splits_is_told(tmp_path: Path) -> None:
    one = Dataset.from_dict({"text": ["a"]})
    DatasetDict({"train": one, "validation": one}).save_to_disk(tmp_path)
    with pytest.raises(UserError, match=r"holds several splits \(train, validation\)"):
        SAVED.read(tmp_path, RowSpec("text"))
    assert SAVED.read(tmp_path / "train", RowSpec("text")) == (Row("train1", "a"),)


def test_a_fault_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "dev.parquet"
    Dataset.from_dict({"text": ["a", " "]}).to_parquet(path)
    with pytest.raises(UserError, match=r"dev\.parquet: row 2: 'text' is empty"):
        PARQUET.read(path, RowSpec("text"))


def test_files_of_another_kind_are_told(tmp_path: Path) -> None:
    path = tmp_path / "dev.parquet"
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(UserError, match=r"dev\.parquet: not a readable Parquet file") as told:
        PARQUET.read(path, RowSpec("text"))
    assert "\n" not in str(told.value)
    (tmp_path / "saved").mkdir()
    with pytest.raises(UserError, match="saved: not a saved data set"):
        SAVED.read(tmp_path / "saved", RowSpec("text"))


@pytest.fixture
def like_a_hub(tmp_path: Path) -> str:
    """A folder as the hub keeps it: two configurations, named in the README's head."""
    for config, word in (("small", "s"), ("large", "l")):
        for split in ("train", "dev"):
            (tmp_path / "set" / config).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / config / f"{split}.jsonl").write_text(
                "".join(f'{{"sentence": "{word} {split} {n}"}}\n' for n in range(2))
            )
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {s}\n    path: {config}/{s}.jsonl\n" for s in ("train", "dev"))
        for config in ("small", "large")
    )
    (tmp_path / "set" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return str(tmp_path / "set")


def test_a_data_set_of_the_hub_is_read_by_configuration_and_split(like_a_hub: str) -> None:
    assert tabular.hub_split_names(like_a_hub, "small", None) == ("train", "dev")
    wanted = RowSpec("text", fields={"text": "sentence"})
    rows = tabular.read_hub(like_a_hub, "large", None, "dev", wanted)
    assert [row.text for row in rows] == ["l dev 0", "l dev 1"]


def test_what_the_hub_does_not_have_is_told_in_one_line(like_a_hub: str, tmp_path: Path) -> None:
    wanted = RowSpec("text", fields={"text": "sentence"})
    for name, config, split, told in (
        (like_a_hub, "small", "devel", "no split 'devel'; did you mean 'dev'?"),
        (like_a_hub, "medium", "dev", "neither a data set on the hub nor a folder"),
        (str(tmp_path / "none"), None, "dev", "none: neither a folder nor an id on the hub"),
        (like_a_hub, "small", "dev", "row 1: no 'text'"),
    ):
        with pytest.raises(UserError) as fault:
            tabular.read_hub(
                name, config, None, split, RowSpec("text") if "row" in told else wanted
            )
        assert told in str(fault.value)
        assert "\n" not in str(fault.value)
