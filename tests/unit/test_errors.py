"""`did_you_mean` names the word that was probably meant; `first_fault` the key and the value."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UserError, did_you_mean, first_fault


@pytest.mark.parametrize(
    ("word", "known", "clause"),
    [
        ("dorra", ["lora", "dora", "rslora"], "did you mean 'dora'?"),
        ("xyzzy", ["lora", "dora"], "known: dora, lora"),
        ("anything", [], "known: none"),
        ("4", [8, 4, 16], "did you mean '4'?"),
    ],
)
def test_did_you_mean(word: str, known: list[object], clause: str) -> None:
    assert did_you_mean(word, known) == clause  # type: ignore[arg-type]


def test_did_you_mean_takes_what_can_be_read_once() -> None:
    assert did_you_mean("zzz", iter(["b", "a"])) == "known: a, b"


def test_a_user_error_is_its_text() -> None:
    assert str(UserError("sweeps/x.yaml: space.rank: low 64 is above high 8")).endswith("high 8")


class Innermost(BaseModel):
    rank: int = 1


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    low: float
    name: str = ""
    by_rank: dict[str, Innermost] = {}


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    bounds: Inner | tuple[float, ...] = (1.0,)
    by_name: dict[str, Inner] = {}
    pairs: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"bound": 1}, "bound: unknown key; did you mean 'bounds'?"),
        ({"bounds": {}}, "bounds.low: is missing"),
        # The misspelt key is reported, not the required one that is therefore missing.
        ({"bounds": {"lw": 1}}, "bounds.lw: unknown key; did you mean 'low'?"),
        ({"by_name": {"a": {"lw": 1}}}, "by_name.a.lw: unknown key; did you mean 'low'?"),
        ({"pairs": [{"low": 1, "nme": "x"}]}, "pairs.0.nme: unknown key; did you mean 'name'?"),
        ({"pairs": 3}, "pairs: should be a list, but is 3"),
        # Of a union, the branch is reported that fits the value but for a part of it.
        ({"bounds": [1, "a"]}, "bounds.1: Input should be a valid number, unable to parse"),
        ({"bounds": 3}, "bounds: should be a list, but is 3"),
        ({"bounds": {"low": 1, "by_rank": {"a": 3}}}, "bounds.by_rank.a: should be keys and"),
        ({"pairs": [3]}, "pairs.0: should be keys and values, but is 3"),
        ({"by_name": ["a"]}, "by_name: should be keys and values, but is ['a']"),
        ({"pairs": [{"low": 1, "name": True}]}, "pairs.0.name: YAML takes yes, no, on and off"),
        ({"pairs": [{"low": "a"}]}, "pairs.0.low: Input should be a valid number, unable to "),
    ],
)
def test_the_first_fault_names_the_key_as_the_file_has_it(
    content: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(content)
    assert first_fault(error.value, Outer).startswith(message)
