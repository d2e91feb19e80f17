from pathlib import Path

import pytest

from harness.data.brat import BRAT, BratOptions
from harness.data.rows import RowSpec
from harness.errors import UserError

TEXT = "Pain in left and\nright knee."


def folder(place: Path, notes: str | bytes, text: str = TEXT, name: str = "doc") -> Path:
    place.mkdir(exist_ok=True)
    (place / f"{name}.txt").write_bytes(text.encode())
    (place / f"{name}.ann").write_bytes(notes.encode() if isinstance(notes, str) else notes)
    return place


def spans(place: Path, **options: str) -> list[tuple[str, str]]:
    wanted = RowSpec("entities", options=BratOptions.model_validate(options))
    (row,) = BRAT.read(place, wanted)
    return [(span.label, span.text) for span in row.entities]


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ("cover", [("SITE", "left and\nright knee")]),
        ("pieces", [("SITE", "left"), ("SITE", "knee")]),
        ("drop", []),
    ],
)
def test_an_entity_in_pieces_follows_the_policy(
    policy: str, found: list[tuple[str, str]], tmp_path: Path
) -> None:
    place = folder(tmp_path / "dev", "T1\tSITE 8 12;23 27\tleft knee\n")
    assert spans(place, discontinuous=policy) == found


@pytest.mark.parametrize(
    ("policy", "found"),
    [
        ("keep", [("SIGN", "Pain"), ("SIGN", "Pain in left"), ("SITE", "left")]),
        ("outermost", [("SIGN", "Pain in left")]),
        ("innermost", [("SIGN", "Pain"), ("SITE", "left")]),
    ],
)
def test_entities_inside_others_follow_the_policy(
    policy: str, found: list[tuple[str, str]], tmp_path: Path
) -> None:
    notes = "T1\tSIGN 0 12\tPain in left\nT2\tSITE 8 12\tleft\nT3\tSIGN 0 4\tPain\n"
    assert spans(folder(tmp_path / "dev", notes), nested=policy) == found


def test_lines_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    notes = (
        "T1\tSIGN 0 4\tPain\nE1\tSIGN:T1\nR1\tat Arg1:T1 Arg2:T1\nA1\tsure T1\n"
        "*\tEquiv T1 T1\n#1\tAnnotatorNotes T1\twell\nN1\tReference T1 X:1\tx\nM1\told E1\n"
    )
    assert spans(folder(tmp_path / "dev", notes)) == [("SIGN", "Pain")]


def test_a_line_end_inside_an_entity_is_a_blank_in_its_text(tmp_path: Path) -> None:
    place = folder(tmp_path / "dev", "T1\tSITE 8 22\tleft and right\n")
    assert spans(place) == [("SITE", "left and\nright")]


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ("T1\tSIGN 0 99\tPain\n", "doc.ann:1: offsets 0..99 are outside the text of 28"),
        (
            "T1\tSIGN 1 5\tPain\n",
            "doc.ann:1: the text is 'Pain', but at its offsets stands 'ain '",
        ),
        (
            "T1\tSIGN 0\n",
            "doc.ann:1: 'T1\tSIGN 0' is not a BRAT annotation; 'T1<tab>LABEL START END",
        ),
        ("T1 SIGN 0 4 Pain\n", "doc.ann:1: 'T1 SIGN 0 4 Pain' is not a BRAT annotation"),
        ("\nQ1\tSIGN 0 4\tPain\n", "doc.ann:2: 'Q1\tSIGN 0 4\tPain' is not a BRAT annotation"),
        ("T1\tSIGN 0 4\tPain\nT1\tSITE 8 12\tleft\n", "doc.ann:2: T1 is already used in line 1"),
        (b"T1\tSIGN 0 4\t\xff\n", "doc.ann:1: byte 13 of the file is not UTF-8"),
    ],
)
def test_a_fault_is_named_with_file_and_line(
    notes: str | bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as fault:
        BRAT.read(folder(tmp_path / "dev", notes), RowSpec("entities"))
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_files_without_their_other_half_are_told(tmp_path: Path) -> None:
    place = folder(tmp_path / "dev", "")
    (place / "alone.txt").write_text("x")
    with pytest.raises(UserError, match=r"alone\.ann: no such file, but alone\.txt exists"):
        BRAT.read(place, RowSpec("entities"))
    (place / "alone.txt").unlink()
    (place / "alone.ann").write_text("")
    with pytest.raises(UserError, match=r"alone\.txt: no such file, but alone\.ann exists"):
        BRAT.read(place, RowSpec("entities"))


def test_an_empty_folder_and_an_empty_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no \.txt file"):
        BRAT.read(tmp_path, RowSpec("entities"))
    with pytest.raises(UserError, match=r"doc\.txt: empty"):
        BRAT.read(folder(tmp_path / "dev", "", text=" \n"), RowSpec("entities"))


def test_a_row_a_line_has_offsets_of_its_own(tmp_path: Path) -> None:
    text = "Took aspirin.\n\nNo pain, no fever.\n"
    notes = "T1\tDRUG 5 12\taspirin\nT2\tSIGN 18 22\tpain\nT3\tSIGN 27 32\tfever\n"
    wanted = RowSpec("entities", options=BratOptions(passages="line"))
    first, third = BRAT.read(folder(tmp_path / "d", notes, text), wanted)
    assert (first.id, first.text, third.id) == ("doc-1", "Took aspirin.", "doc-3")
    assert first.document == third.document == "doc"
    for row in (first, third):
        assert all(row.text[one.start : one.end] == one.text for one in row.entities)
    assert [one.text for one in third.entities] == ["pain", "fever"]


def test_an_entity_over_a_line_end_needs_whole_documents(tmp_path: Path) -> None:
    place = folder(tmp_path / "d", "T1\tSITE 13 22\tand right\n")
    with pytest.raises(UserError, match=r"doc\.txt:1: SITE 'and right' .*passages: document"):
        BRAT.read(place, RowSpec("entities", options=BratOptions(passages="line")))
