"""Tables are drawn for a person and plain for a pipe."""

from __future__ import annotations

import io

from harness.cli.options import print_table

COLUMNS = ("name", "trials")
ROWS = [("ner_medical", 7), ("[bold]x", 120)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_columns_where_nobody_looks_on() -> None:
    out = io.StringIO()
    print_table("Studies", COLUMNS, ROWS, to=out)
    assert out.getvalue().splitlines() == [
        "Studies",
        "name         trials",
        "ner_medical       7",
        "[bold]x         120",
    ]


def test_a_drawn_table_on_a_terminal_has_the_same_cells_and_no_markup() -> None:
    out = Terminal()
    print_table("Studies", COLUMNS, ROWS, to=out)
    text = out.getvalue()
    for cell in ("Studies", "name", "ner_medical", "[bold]x", "120"):
        assert cell in text
    assert "─" in text


def test_no_row_is_said() -> None:
    out = io.StringIO()
    print_table("Studies", COLUMNS, [], empty="none under results", to=out)
    assert out.getvalue() == "Studies: none under results\n"


def test_fractions_are_short() -> None:
    out = io.StringIO()
    print_table("T", ("share",), [(0.1 + 0.2,), (12.0,)], to=out)
    assert [line.strip() for line in out.getvalue().splitlines()[2:]] == ["0.3", "12"]
