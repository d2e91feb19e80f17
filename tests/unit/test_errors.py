"""`did_you_mean` names the word that was probably meant, else all of them."""

from __future__ import annotations

import pytest

from harness.errors import UserError, did_you_mean


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
