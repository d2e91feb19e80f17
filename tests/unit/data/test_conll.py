from pathlib import Path

import pytest

from harness.data.conll import CONLL, ConllOptions
from harness.data.rows import Row, RowSpec
from harness.errors import UserError

ENTITIES = RowSpec("entities")


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "dev.conll"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_columns_may_be_many_and_the_tag_anywhere(tmp_path: Path) -> None:
    path = file(tmp_path, "Gout NN B-NP B-C x\nhurts VB B-VP O x\n")
    options = ConllOptions(tag_column=3)
    (row,) = CONLL.read(path, RowSpec("entities", options=options))
    assert [(span.label, span.text) for span in row.entities] == [("C", "Gout")]
    assert row.text == "Gout hurts"
    (other,) = CONLL.read(
        path, RowSpec("text", options=ConllOptions(token_column=1, tag_column=3))
    )
    assert other.text == "NN VB"


def test_documents_keep_their_sentences_together(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\na O\n\nb O\n\n-DOCSTART- O\n\nc O\n"
    rows = CONLL.read(file(tmp_path, text), ENTITIES)
    assert [row.document for row in rows] == ["dev1", "dev1", "dev2"]
    assert len({row.id for row in rows}) == 3


def test_windows_line_ends_and_odd_separators_inside_tokens(tmp_path: Path) -> None:
    rows = CONLL.read(file(tmp_path, "a\u2028b\tO\r\nGout\tB-C\r\n\r\nx\tO\r\n"), ENTITIES)
    assert [row.text for row in rows] == ["a\u2028b Gout", "x"]


def test_texts_alone_can_be_had(tmp_path: Path) -> None:
    rows = CONLL.read(file(tmp_path, "Gout\tB-C\n"), RowSpec("text"))
    assert rows == (Row("dev1", "Gout"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\tO\nb\n", ":2: 1 columns, but the earlier lines have 2"),
        ("a\nb\n", ":1: 1 column; a token and its tag separated by a tab or spaces"),
        ("a\tO\nb\tX-C\n", ":2: 'X-C' is not a tag"),
        ("a\tO\n\nb\tB-C\nc\tI-D\nd\tO\n", ":3: 'B-C' after 'O', but IOB1 has B- only"),
        ("a\tS-C\nb\tI-C\n", ":2: 'I-C' begins an entity; B- or S-C is right"),
        ("a\tB-C\nb\tI-C\n\nc\tS-C\n", ":2: the sentence ends inside C"),
        (b"a\tO\n\xff\tO\n", ":2: byte 5 of the file is not UTF-8; save it as UTF-8"),
        ("\n\n", "no sentence; give a token and its tag on each line"),
        ("a b\tB-C|D\n", ':1: the tag.label is "C|D"; a label has no : ; |'),
    ],
)
def test_a_fault_is_named_with_its_line(text: str | bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as fault:
        CONLL.read(file(tmp_path, text), ENTITIES)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_scheme_that_is_said_is_kept_to(tmp_path: Path) -> None:
    wanted = RowSpec("entities", options=ConllOptions(scheme="iob2"))
    with pytest.raises(UserError, match="B- is right in IOB2"):
        CONLL.read(file(tmp_path, "a\tI-C\n"), wanted)
    assert CONLL.read(file(tmp_path, "a\tI-C\n"), ENTITIES)[0].entities[0].text == "a"


def test_it_holds_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CoNLL holds texts with entities, but the task's kind is"):
        CONLL.read(file(tmp_path, "a\tO\n"), RowSpec("pairs"))
