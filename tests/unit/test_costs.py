"""Bounds as people write them, and what is said of those that are none."""

import math

import pytest

from harness.costs import parse_constraint
from harness.errors import UserError


@pytest.mark.parametrize(
    ("text", "cost", "limit"),
    [
        ("memory<8GB", "peak_memory", 8e9),
        ("memory < 8 GiB", "peak_memory", 8 * 2**30),
        ("peak_memory<512mb", "peak_memory", 512e6),
        ("inference_memory<1.5GiB", "inference_memory", 1.5 * 2**30),
        ("parameters<100k", "parameters", 1e5),
        ("parameters<1.2M", "parameters", 1.2e6),
        ("parameters<1e6", "parameters", 1e6),
        ("seconds<90", "train_seconds", 90.0),
        ("train_seconds<5min", "train_seconds", 300.0),
        ("seconds<2h", "train_seconds", 7200.0),
    ],
)
def test_a_bound_is_read(text: str, cost: str, limit: float) -> None:
    found = parse_constraint(text)
    assert (found.cost, found.included) == (cost, False)
    assert found.limit == pytest.approx(limit)
    assert found.text == text.replace(" ", "")


def test_the_limit_itself_is_in_only_where_that_is_said() -> None:
    assert not parse_constraint("parameters<10").satisfied_by(10)
    assert parse_constraint("parameters<=10").satisfied_by(10)
    assert parse_constraint("parameters<10").satisfied_by(9)
    assert not parse_constraint("parameters<=10").satisfied_by(11)


def test_what_is_not_known_keeps_no_bound() -> None:
    assert not parse_constraint("memory<8GB").satisfied_by(math.nan)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("memory", "'memory' is no constraint; write it as memory<8GB"),
        ("memory>8GB", "is no constraint"),
        ("memory<-8GB", "is no constraint"),
        ("memori<8GB", "unknown 'memori'; did you mean 'memory'"),
        ("memory<8parsec", "unknown unit 'parsec' of peak_memory; known are B, KB"),
        ("parameters<8GB", "unknown unit 'GB' of parameters; known are K, M, B"),
    ],
)
def test_what_is_no_bound_is_told(text: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        parse_constraint(text)
    assert told in str(error.value)
