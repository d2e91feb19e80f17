from pathlib import Path

import pytest

from harness.data.pubtator import PUBTATOR
from harness.data.rows import RowSpec, Span
from harness.errors import UserError

HEAD = "7|t|Gout.\n7|a|It hurts.\n"


def read(folder: Path, text: str | bytes) -> tuple:
    path = folder / "dev.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return PUBTATOR.read(path, RowSpec("entities"))


def test_offsets_run_over_title_and_abstract(tmp_path: Path) -> None:
    (row,) = read(tmp_path, f"\n{HEAD}7\t9\t14\thurts\tSIGN\tD1\n7\t0\t4\tGout\tDISEASE\n")
    assert row.text == "Gout. It hurts."
    assert row.entities == (Span(0, 4, "DISEASE", "Gout"), Span(9, 14, "SIGN", "hurts"))


def test_relations_are_passed_over_and_an_abstract_may_be_missing(tmp_path: Path) -> None:
    rows = read(tmp_path, f"{HEAD}7\tCID\tD1\tD2\n\n8|t|A|b\r\n")
    assert [row.text for row in rows] == ["Gout. It hurts.", "A|b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HEAD}7\t0\t5\tGout\tC\tD\n", ":3: 'Gout': 'text' is \"Gout\", but text[0:5] is"),
        (f"{HEAD}7\t0\t99\tGout\tC\tD\n", ":3: 'Gout': offsets 0..99 are outside the text"),
        (f"{HEAD}7\tzero\t4\tGout\tC\tD\n", ":3: offsets 'zero' and '4' are not whole numbers"),
        (f"{HEAD}7\t0\t4\n", ":3: 3 columns; id, start, end, text and label, separated by tabs"),
        (f"{HEAD}8\t0\t4\tGout\tC\tD\n", ":3: a line of '8' among those of '7'"),
        ("7\t0\t4\tGout\tC\tD\n", ":1: a line of '7' among those of no document"),
        (f"{HEAD}\n{HEAD}", ":4: document '7' already begins in line 1"),
        (f"{HEAD}7|t|Again.\n", ":3: document '7' has a second title"),
        ("7|a|It hurts.\n", ":1: document '7' has no title (id|t|...)"),
        (b"7|t|\xff\n", ":1: byte 5 of the file is not UTF-8"),
        ("\n", ": no document; a line 'id|t|title' begins one"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as fault:
        read(tmp_path, text)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)
