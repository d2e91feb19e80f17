"""How texts from outside are shown: cut, with what cannot be seen made visible, not turned."""

import pytest

from harness.report import formatting as display

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
    assert display.cut(text, room) == shown


def test_names_levels_and_units_are_cut() -> None:
    long = "x" * 10_000
    assert len(display.short(long)) == display.LONGEST
    assert len(display.label({"variant": long, "rank": 4})) < display.LONGEST + 10


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
    assert display.visible(text) == shown
    assert display.cut(text) == shown
    shown.encode("utf-8")


def test_behind_a_text_from_right_to_left_stands_a_mark() -> None:
    assert display.cut(HEBREW) == f"{HEBREW}\u200e"
    assert display.short("\u0645") == "\u0645\u200e"
    assert display.cut("\u00e9t\u00e9 \u03b1") == "\u00e9t\u00e9 \u03b1"
