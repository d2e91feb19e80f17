"""Files in their original formats: every importer finds what was counted there by other means."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.data.rows import FORMATS, Wanted

RAW = (
    Path(
        os.environ.get("HARNESS_SHARED_DATA")
        or Path(__file__).resolve().parents[4] / "shared/data"
    )
    / "raw"
)
pytestmark = pytest.mark.skipif(
    not RAW.is_dir(), reason=f"no raw files at {RAW}; set HARNESS_SHARED_DATA"
)
#: File (or folder), format, what rows are, and fields where the file calls them otherwise.
FILES: dict[str, tuple[str, str, dict[str, str]]] = {
    "brat_maccrobat": ("brat", "entities", {}),
    "conll/ncbi_disease_devel_IOB.tsv": ("conll", "entities", {}),
    "conll/ncbi_disease_devel_IOBES.tsv": ("conll", "entities", {}),
    "pubtator/ncbi_disease_devel_pubtator.txt": ("pubtator", "entities", {}),
    "csv/banking77_train.csv": ("csv", "pairs", {"input": "text", "output": "category"}),
    "csv/mts_dialog_validation.csv": (
        "csv",
        "pairs",
        {"id": "ID", "input": "dialogue", "output": "section_text"},
    ),
    "jsonl/gsm8k_train_first200.jsonl": (
        "jsonl",
        "pairs",
        {"input": "question", "output": "answer"},
    ),
}


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RAW / "EXPECTED.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_survey_finds_the_expected_counts(name: str) -> None:
    found = FORMATS.get(FILES[name][0]).survey(RAW / name)
    for key, count in expected()[name].items():
        got = list(found[key]) if key == "keys" else found[key]
        assert got == count, key


@pytest.mark.parametrize("name", FILES)
def test_rows_are_as_many_and_every_entity_stands_at_its_offsets(name: str) -> None:
    reader, kind, fields = FILES[name]
    rows = FORMATS.get(reader).read(RAW / name, Wanted(kind, fields=fields))
    counts = expected()[name]
    assert len(rows) == next(counts[key] for key in ("rows", "docs", "sentences") if key in counts)
    spans = [(row, span) for row in rows for span in row.entities]
    assert all(row.text[span.start : span.end] == span.text for row, span in spans)
    by_label = counts.get("T_labels") or counts.get("mentions") or counts.get("entities") or {}
    assert len(spans) == sum(by_label.values())


def test_every_file_with_a_count_is_read() -> None:
    assert set(FILES) == set(expected())


def test_both_schemes_of_the_same_sentences_give_the_same_entities() -> None:
    files = [RAW / "conll" / f"ncbi_disease_devel_{scheme}.tsv" for scheme in ("IOB", "IOBES")]
    first, second = (FORMATS.get("conll").read(path, Wanted("entities")) for path in files)
    assert [row.entities for row in first] == [row.entities for row in second]
