from pathlib import Path

import pytest

from harness.data.rows import Row, Wanted
from harness.data.tabular import CSV, TSV
from harness.errors import UserError

PAIRS = Wanted("pairs")


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
    wanted = Wanted("pairs", fields={"id": "ID", "input": "query", "output": "intent"})
    assert TSV.read(path, wanted) == (Row("5", "How?", output="ask"),)


def test_an_instruction_may_need_no_input(tmp_path: Path) -> None:
    text = "instruction,input,output\nSay hi.,,hi\nAdd.,1+1,2\n"
    rows = CSV.read(file(tmp_path, text), PAIRS)
    assert [(row.instruction, row.text, row.output) for row in rows] == [
        ("Say hi.", "", "hi"),
        ("Add.", "1+1", "2"),
    ]


def test_plain_text(tmp_path: Path) -> None:
    assert CSV.read(file(tmp_path, "text\nOne.\n"), Wanted("text")) == (Row("dev2", "One."),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("input,outputs\na,b\n", ":1: no column 'output'; did you mean 'outputs'? (fields:"),
        ("input,output\na,b,c\n", ":2: 3 values for 2 columns (input, output); a value with the"),
        ("input,output\na\n", ":2: 1 values for 2 columns"),
        ('input,output\na,b\n"c,d\n', ":3: "),
        ('input,output\n"a"b,c\n', ":2: "),
        ("input,output\na,\n", ":2: 'output' is empty"),
        ("input,input\na,b\n", ":1: column 'input' stands twice"),
        ("input,,output\na,b,c\n", ":1: a column has no name"),
        ("", ": empty; a line of column names"),
        ("input,output\n", ": no rows; a line of column names"),
        (b"input,output\na,\xff\n", ":2: byte 16 of the file is not UTF-8"),
        (b"input,output\na,\0\n", ":2: a NUL byte"),
        ("id,input,output\n1,a,b\n\n1,c,d\n", ":4: id '1' already stands in line 2"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as fault:
        CSV.read(file(tmp_path, text), PAIRS)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_it_holds_no_entities(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="csv has no place for entities; use jsonl, conll"):
        CSV.read(file(tmp_path, "text\nx\n"), Wanted("entities"))
