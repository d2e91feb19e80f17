"""Tests of `harness.report.formatting`.

How texts from outside are shown: cut, with what cannot be seen made visible, not turned.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from harness.analysis.formatting import MetricFormat
from harness.report import formatting
from harness.results import Objective
from tests.studies import F1, PERPLEXITY

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize("value", [None, math.nan, pd.NA, pd.NaT, math.inf, np.float64("nan")])
def test_what_is_missing_is_a_dash_in_every_form(value: object) -> None:
    scale = formatting.scale(F1)
    forms = (
        formatting.number,
        formatting.count,
        formatting.short,
        formatting.rate,
        formatting.column_rate,
        formatting.p_value,
        formatting.seconds,
        formatting.memory,
        scale.show,
        scale.gap,
    )
    assert {form(value) for form in forms} == {DASH}
    assert scale.interval(value, value) == DASH


def test_numbers_have_true_signs_and_no_minus_zero() -> None:
    assert formatting.number(-1.25, 1) == f"{MINUS}1.2"
    assert formatting.number(0.34, 1, signed=True) == "+0.3"
    assert formatting.number(-0.04, 1, signed=True) == "0.0"


def test_large_counts_are_set_apart() -> None:
    assert formatting.count(1234567.0) == "1\u202f234\u202f567"


def test_short_is_what_a_person_would_type() -> None:
    assert [formatting.short(value) for value in (16, np.int64(16), 2.0, 0.05, "qv")] == [
        "16",
        "16",
        "2",
        "0.05",
        "qv",
    ]


def test_rates_line_up_in_a_column_only() -> None:
    assert (formatting.rate(0.005), formatting.column_rate(0.005)) == ("5e-3", "5.00e-3")
    assert formatting.rate(0.00423) == "4.23e-3"


def test_small_p_values_are_bounds() -> None:
    assert (formatting.p_value(0.0004), formatting.p_value(0.0412)) == ("< 0.001", "0.041")


def test_times_and_sizes_have_units() -> None:
    assert [formatting.seconds(value) for value in (38.24, 600, 9000)] == [
        "38.2\u202fs",
        "10.0\u202fmin",
        "2.5\u202fh",
    ]
    assert [formatting.memory(value) for value in (512 * 2**20, 3 * 2**29)] == [
        "512\u202fMiB",
        "1.50\u202fGiB",
    ]


def test_scores_are_shown_in_the_objectives_unit_with_digits_by_its_margin() -> None:
    assert formatting.scale(F1) == MetricFormat(100.0, 1, "points of F1", formatting.STYLE)
    assert formatting.scale(F1).show(0.8437) == "84.4"
    assert formatting.scale(PERPLEXITY).show(3.14159) == "3.14"
    no_margin = Objective("m", "maximize", 0.0, "mean", ("all",))
    assert formatting.scale(no_margin) == MetricFormat(1.0, 3, "m", formatting.STYLE)


def test_an_open_interval_says_so() -> None:
    scale = formatting.scale(F1)
    assert scale.gap_interval(-0.014, 0.008) == f"{MINUS}1.4 to +0.8"
    assert scale.gap_interval(-0.014, math.nan) == f"from {MINUS}1.4"
    assert scale.gap_interval(math.nan, 0.008) == "up to +0.8"


def test_a_label_names_what_is_known() -> None:
    config = {"variant": "dora", "rank": 8, "alpha": 16.0, "dropout": 0.05, "learning_rate": 0.005}
    assert formatting.label(config) == "dora r=8 \N{GREEK SMALL LETTER ALPHA}=16 dropout 0.05"
    assert formatting.label(config, rate_too=True).endswith("lr 5e-3")
    assert formatting.label({}) == DASH


def test_baselines_have_spoken_names() -> None:
    spoken = {
        "base_5_shot": "base model (5-shot)",
        "base_0_shot": "base model (zero-shot)",
        "base": "base model (zero-shot)",
        "dictionary": "dictionary",
        "first_sentence": "first sentence",
        "most_frequent": "most frequent class",
    }
    assert {name: formatting.baseline_label(name) for name in spoken} == spoken


def test_words_follow_the_direction() -> None:
    assert (formatting.highest(F1), formatting.gained(F1)) == ("highest", "over")
    assert (formatting.highest(PERPLEXITY), formatting.gained(PERPLEXITY)) == ("lowest", "below")


HEBREW = "\u05d0\u05d1\u05d2"


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("", 3, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "ab\u2026"),
        ("\u6f22\u5b57", 4, "\u6f22\u5b57"),  # a Han character takes two places
        ("\u6f22\u5b57x", 4, "\u6f22\u2026"),
        ("\U0001f4a5\U0001f4a5", 3, "\u2026"),
        ("a\nb\tc", 10, "a\nb\tc"),
    ],
)
def test_a_long_text_is_cut_by_the_room_it_takes(text: str, room: int, shown: str) -> None:
    assert formatting.truncate(text, room) == shown


def test_names_levels_and_units_are_cut() -> None:
    long = "x" * 10_000
    assert len(formatting.short(long)) == formatting.LONGEST
    assert len(formatting.label({"variant": long, "rank": 4})) < formatting.LONGEST + 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u202ecba", "[U+202E]cba"),
        ("\u2066a\u2069", "[U+2066]a[U+2069]"),
        ("\x00\x07\x1b", "\u2400\u2407\u241b"),
        ("\x7f\x9b", "[U+007F][U+009B]"),
        ("\ud800", "[U+D800]"),
        ("a\tb\nc\r\u00e9 \U0001f4a5", "a\tb\nc\r\u00e9 \U0001f4a5"),
    ],
)
def test_what_cannot_be_seen_is_named(text: str, shown: str) -> None:
    assert formatting.escape_invisible(text) == shown
    assert formatting.truncate(text) == shown
    shown.encode("utf-8")


def test_behind_a_text_from_right_to_left_stands_a_mark() -> None:
    assert formatting.truncate(HEBREW) == f"{HEBREW}\u200e"
    assert formatting.short("\u0645") == "\u0645\u200e"
    assert formatting.truncate("\u00e9t\u00e9 \u03b1") == "\u00e9t\u00e9 \u03b1"
