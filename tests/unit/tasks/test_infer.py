"""From columns to a task: by names, by what they hold, or not at all.

From a path to its format and splits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.tasks.infer import (
    INPUTS,
    OUTPUTS,
    Column,
    InferredTask,
    describe_columns,
    find_data,
    infer_task,
)


def words(count: int, seed: int) -> str:
    return " ".join(f"w{seed}{place}" for place in range(count))


def rows(**made: Any) -> list[dict[str, Any]]:
    """Twelve records; a column is what its maker gives for a number."""
    return [{name: make(n) for name, make in made.items()} for n in range(12)]


def long(n: int) -> str:
    return words(20, n)


def other(n: int) -> str:
    return words(9, 100 + n)


def few(n: int) -> str:
    return ("yes", "no")[n % 2]


def found(records: list[dict[str, Any]], kind: str | None = None, **fields: str) -> InferredTask:
    return infer_task(describe_columns(records), len(records), kind, fields)


def told(records: list[dict[str, Any]], kind: str | None = None, **fields: str) -> str:
    with pytest.raises(UserError) as fault:
        found(records, kind, **fields)
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_no_name_means_two_things() -> None:
    assert not set(INPUTS) & set(OUTPUTS)


@pytest.mark.parametrize(
    ("records", "kind", "fields"),
    [
        (rows(message=long, intent=few), "choice", {"input": "message", "output": "intent"}),
        (rows(intent=few, message=long), "choice", {"input": "message", "output": "intent"}),
        (rows(foo=long, bar=few), "choice", {"input": "foo", "output": "bar"}),
        (rows(input=long, output=few), "choice", {}),
        (rows(input=long, output=other), "pairs", {}),
        (rows(dialogue=long, note=other), "pairs", {"input": "dialogue", "output": "note"}),
        (rows(question=long, answer=other), "pairs", {"input": "question", "output": "answer"}),
        (rows(foo=long, summary=other), "pairs", {"input": "foo", "output": "summary"}),
        (rows(text=long, foo=other), "pairs", {"input": "text", "output": "foo"}),
        (rows(text=long, title=few, summary=other), "pairs",
         {"input": "text", "output": "summary"}),
        (rows(section=few, section_text=other, dialogue=long), "pairs",
         {"input": "dialogue", "output": "section_text"}),
        (rows(text=long), "text", {}),
        (rows(body=long), "text", {"text": "body"}),
        (rows(ID=str, body=long), "text", {"id": "ID", "text": "body"}),
        (rows(id=str, text=long, stars=int), "text", {}),
        (rows(instruction=long, output=other), "pairs", {"input": "instruction"}),
    ],
)  # fmt: skip
def test_kinds_and_fields(
    records: list[dict[str, Any]], kind: str, fields: dict[str, str]
) -> None:
    one = found(records)
    assert (one.task_type, dict(one.fields)) == (kind, fields)
    assert not one.instructed


def test_the_reason_counts_classes() -> None:
    assert found(rows(message=long, intent=few)).reasons == (
        "choice, for column `intent` has 2 different values in 12 rows, each at least 6 times",
        "`message` is the input, of 20 words on average",
    )


def test_texts_that_stay_out_are_named() -> None:
    why = found(rows(section=few, section_text=other, dialogue=long)).reasons
    assert why[-1] == "`section` is not used; --field output=section makes it the output"
    why = found(rows(text=long, title=few, place=lambda n: f"s{n % 5}", summary=other)).reasons
    assert why[-1] == (
        "`title` and `place` are not used; --field output=COLUMN makes one the output"
    )
    assert "not used" not in " ".join(found(rows(input=long, output=few)).reasons)


def test_instructions_that_differ_belong_into_the_prompt() -> None:
    one = found(rows(instruction=other, input=long, output=few))
    assert (one.task_type, one.instructed) == ("choice", True)
    same = found(rows(instruction=lambda _: "Answer!", input=long, output=few))
    assert not same.instructed
    assert (
        same.reasons[-1] == "`instruction` is the same in every row and is not part of the prompt"
    )


def test_entities_as_spans_and_as_tags() -> None:
    span = [{"start": 0, "end": 2, "label": "X"}]
    one = found(rows(note=long, found=lambda _: span))
    assert (one.task_type, dict(one.fields)) == ("entities", {"entities": "found", "text": "note"})
    one = found(rows(tokens=lambda n: ["a", f"b{n}"], tags=lambda _: ["O", "B-X"]))
    assert (one.task_type, dict(one.fields)) == ("entities", {"tags": "tags"})
    one = found(rows(tokens=lambda n: ["a", f"b{n}"], ner_tags=lambda _: ["O", "B-X"]))
    assert (one.task_type, dict(one.fields)) == ("entities", {})


def test_what_the_user_says_goes_before_what_is_guessed() -> None:
    records = rows(section=few, talk=long, note=other)
    assert found(records, input="talk", output="section").task_type == "choice"
    assert dict(found(records, input="talk", output="section").fields) == {
        "input": "talk",
        "output": "section",
    }
    assert found(rows(input=long, output=few), kind="pairs").task_type == "pairs"
    one = found(records, kind="text", text="talk")
    assert (one.task_type, dict(one.fields)) == ("text", {"text": "talk"})
    assert dict(found(rows(a=long, b=few), text="a", output="b").fields)["input"] == "a"


@pytest.mark.parametrize(
    ("records", "part"),
    [
        (rows(foo=long, bar=other),
         "it is unclear which column of foo, bar is the input and which is the output; say "
         "--field input=COLUMN --field output=COLUMN"),
        (rows(dialogue=long, header=other, section_text=other),
         "it is unclear which column of dialogue, header, section_text is the output; say "
         "--field output=COLUMN"),
        (rows(text=long, label=lambda n: n % 2), "column 'label' holds numbers (2 different"),
        (rows(n=int), "no column of n holds texts"),
        (rows(a=few, b=long, found=lambda _: [{"start": 0, "end": 1, "label": "X"}]),
         "column 'found' holds entities, but it is unclear which of a, b, found is the text"),
        (rows(tokens=lambda _: ["a"], tags=lambda _: [1]),
         "column 'tags' does not hold lists of words"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_lists_the_columns_and_the_option(
    records: list[dict[str, Any]], part: str
) -> None:
    assert part in told(records)


def test_a_wrong_field_or_kind_is_told() -> None:
    records = rows(message=long, intent=few)
    assert told(records, output="intnet") == (
        "--field output=intnet: no such column; did you mean 'intent'?"
    )
    assert "--kind entities: no column of message, intent holds entities" in told(
        records, kind="entities"
    )
    assert "is the text; say --field text=COLUMN" in told(rows(foo=long, bar=other), kind="text")


ROWS = [
    {
        "id": n,
        "text": f"text number {n}",
        "label": "ab"[n % 2],
        "score": 0.5,
        "both": "x" if n else 1,
    }
    for n in range(6)
]


def column(values: list[Any]) -> Column:
    (found,) = describe_columns([{"c": value} for value in values])
    return found


def test_columns_come_in_order_with_what_they_hold() -> None:
    assert [(one.name, one.holds, one.values) for one in describe_columns(ROWS)] == [
        ("id", "number", 6),
        ("text", "text", 6),
        ("label", "text", 2),
        ("score", "number", 1),
        ("both", "other", 0),
    ]


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (["a", "b"], "words"),
        ([{"start": 0, "end": 1, "label": "X"}], "spans"),
        ([{"start": 0, "end": 1}], "other"),
        ({"a": 1}, "other"),
        (True, "other"),
        ([1, 2], "other"),
    ],
)
def test_lists_and_the_like(value: object, holds: str) -> None:
    assert column([value, value]).holds == holds


def test_rows_with_and_without_entities_hold_spans() -> None:
    assert column([[], [{"start": 0, "end": 1, "label": "X"}], []]).holds == "spans"


def test_nothing_is_counted_and_left_out_of_the_values() -> None:
    found = column(["a", "", None, "a"])
    assert (found.rows, found.empty, found.values, found.rarest) == (4, 2, 1, 2)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["yes", "no"] * 3, True),
        (["yes", "no", "maybe"] * 2, False),  # each twice only
        (["yes"] * 6, False),  # nothing to choose
        (["a text\nof two lines", "b"] * 3, False),
        (["long " * 20, "short"] * 3, False),
        ([1, 2] * 3, False),
    ],
)
def test_classes_are_few_short_and_stand_several_times(values: list[Any], classes: bool) -> None:
    assert column(values).classes is classes


def test_words_length_and_lines_of_texts() -> None:
    found = column(["one two three", "one\ntwo"])
    assert (found.words, found.longest, found.multiline, found.unique) == (2.5, 13, True, True)
    assert not column(["a", "a"]).unique


ROW = json.dumps({"input": "Why?", "output": "So."}) + "\n"


def files(place: Path, *names: str) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / name).write_text(ROW, encoding="utf-8")
    return place


def test_a_folder_names_its_splits(tmp_path: Path) -> None:
    found = find_data(files(tmp_path, "train.jsonl", "dev.jsonl", "notes.md"), None)
    assert (found.format, found.folder) == ("jsonl", tmp_path)
    assert found.splits == {"validation": "dev"}
    assert found.train == tmp_path / "train.jsonl"


def test_one_file_is_the_training_split_and_brings_those_named_like_it(tmp_path: Path) -> None:
    place = files(tmp_path, "mine.jsonl", "other_dev.jsonl")
    assert find_data(place / "mine.jsonl", None).names == {"train": "mine"}
    place = files(tmp_path / "b", "b_train.jsonl", "b_dev.jsonl", "c_test.jsonl")
    assert find_data(place / "b_train.jsonl", None).names == {
        "train": "b_train",
        "validation": "b_dev",
    }
    assert find_data(place / "b_dev.jsonl", None).names == {"train": "b_dev"}


def test_what_is_left_aside_is_told(tmp_path: Path) -> None:
    found = find_data(files(tmp_path, "train.jsonl", "dev.jsonl", "valid.jsonl"), None)
    assert found.names == {"train": "train", "validation": "valid"}
    assert found.reasons[-1] == "not used: dev"


def test_a_format_that_the_user_names_decides(tmp_path: Path) -> None:
    place = files(tmp_path, "train.jsonl")
    (place / "train.csv").write_text("a,b\nc,d\n", encoding="utf-8")
    assert find_data(place, "csv").train.name == "train.csv"
    with pytest.raises(UserError, match="several formats; say --format "):
        find_data(place, None)
    with pytest.raises(UserError, match=r"read from files that end in \.parquet"):
        find_data(place / "train.csv", "parquet")
