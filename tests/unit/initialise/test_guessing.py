"""From columns to a task: by names, by what they hold, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UserError
from harness.tasks.infer import INPUTS, OUTPUTS, Guess, columns, guess


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


def found(records: list[dict[str, Any]], kind: str | None = None, **fields: str) -> Guess:
    return guess(columns(records), len(records), kind, fields)


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
    assert (one.kind, dict(one.fields)) == (kind, fields)
    assert not one.instructed


def test_the_reason_counts_classes() -> None:
    assert found(rows(message=long, intent=few)).why == (
        "choice, for column `intent` has 2 different values in 12 rows, each at least 6 times",
        "`message` is the input, of 20 words on average",
    )


def test_texts_that_stay_out_are_named() -> None:
    why = found(rows(section=few, section_text=other, dialogue=long)).why
    assert why[-1] == "`section` is passed over; --field output=section would make it the output"
    why = found(rows(text=long, title=few, place=lambda n: f"s{n % 5}", summary=other)).why
    assert why[-1] == (
        "`title` and `place` are passed over; --field output=COLUMN would make one the output"
    )
    assert "passed over" not in " ".join(found(rows(input=long, output=few)).why)


def test_instructions_that_differ_belong_into_the_prompt() -> None:
    one = found(rows(instruction=other, input=long, output=few))
    assert (one.kind, one.instructed) == ("choice", True)
    same = found(rows(instruction=lambda _: "Answer!", input=long, output=few))
    assert not same.instructed
    assert same.why[-1] == "`instruction` says the same in every row and stays out of the prompt"


def test_entities_as_spans_and_as_tags() -> None:
    span = [{"start": 0, "end": 2, "label": "X"}]
    one = found(rows(note=long, found=lambda _: span))
    assert (one.kind, dict(one.fields)) == ("entities", {"entities": "found", "text": "note"})
    one = found(rows(tokens=lambda n: ["a", f"b{n}"], tags=lambda _: ["O", "B-X"]))
    assert (one.kind, dict(one.fields)) == ("entities", {"tags": "tags"})
    one = found(rows(tokens=lambda n: ["a", f"b{n}"], ner_tags=lambda _: ["O", "B-X"]))
    assert (one.kind, dict(one.fields)) == ("entities", {})


def test_what_the_user_says_goes_before_what_is_guessed() -> None:
    records = rows(section=few, talk=long, note=other)
    assert found(records, input="talk", output="section").kind == "choice"
    assert dict(found(records, input="talk", output="section").fields) == {
        "input": "talk",
        "output": "section",
    }
    assert found(rows(input=long, output=few), kind="pairs").kind == "pairs"
    one = found(records, kind="text", text="talk")
    assert (one.kind, dict(one.fields)) == ("text", {"text": "talk"})
    assert dict(found(rows(a=long, b=few), text="a", output="b").fields)["input"] == "a"


@pytest.mark.parametrize(
    ("records", "part"),
    [
        (rows(foo=long, bar=other),
         "which column of foo, bar is the input and which is the output cannot be told; say "
         "--field input=COLUMN --field output=COLUMN"),
        (rows(dialogue=long, header=other, section_text=other),
         "which column of dialogue, header, section_text is the output cannot be told; say "
         "--field output=COLUMN"),
        (rows(text=long, label=lambda n: n % 2), "column 'label' holds numbers (2 different"),
        (rows(n=int), "no column of n holds texts"),
        (rows(a=few, b=long, found=lambda _: [{"start": 0, "end": 1, "label": "X"}]),
         "column 'found' holds entities, but which of a, b, found is the text cannot be told"),
        (rows(tokens=lambda _: ["a"], tags=lambda _: [1]),
         "column 'tags' holds no lists of words"),
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
    assert "is the text cannot be told; say --field text=COLUMN" in told(
        rows(foo=long, bar=other), kind="text"
    )
