"""Makes the files of this task from the MACCROBAT2020 corpus: a folder of .txt and .ann files.

    python tasks/maccrobat4/convert.py MACCROBAT2020 maccrobat4
    python -m harness sweep maccrobat4 --data maccrobat4

A row is a line of a document, which is a sentence in this corpus. Of entities that overlap the
longest is kept. Documents go to splits by a hash of their number, so that the splits are the same
wherever they are made.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from harness.data.brat import BratOptions
from harness.data.rows import FORMATS, Row, RowSpec, Span

CLASSES = {
    "Medication": "MEDICATION",
    "Dosage": "DOSAGE",
    "Disease_disorder": "CONDITION",
    "Sign_symptom": "CONDITION",
    "Therapeutic_procedure": "PROCEDURE",
    "Diagnostic_procedure": "PROCEDURE",
}
#: Documents of 200; what is left is the test split.
SIZES = {"train": 140, "validation": 20}


def rows(folder: Path) -> list[Row]:
    """The corpus line by line, in the four classes."""
    options = BratOptions(passages="line")
    found = FORMATS.get("brat").read(folder, RowSpec("entities", options=options))
    return [Row(row.id, row.text, _four_classes(row.entities)) for row in found]


def splits(documents: Iterable[str]) -> dict[str, str]:
    """The split of each document."""
    names = sorted(set(documents), key=_place)
    bounds = (SIZES["train"], SIZES["train"] + SIZES["validation"])
    return {
        name: "train" if place < bounds[0] else "validation" if place < bounds[1] else "test"
        for place, name in enumerate(names)
    }


def _place(document: str) -> bytes:
    return hashlib.sha256(f"maccrobat:{document}".encode()).digest()


def _four_classes(spans: Iterable[Span]) -> tuple[Span, ...]:
    mine = [span._replace(label=CLASSES[span.label]) for span in spans if span.label in CLASSES]
    kept: list[Span] = []
    for span in sorted(mine, key=lambda one: (one.start - one.end, one.start, one.label)):
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return tuple(sorted(kept))


def main(corpus: Path, out: Path) -> None:
    """Writes train.jsonl, validation.jsonl and test.jsonl."""
    found = rows(corpus)
    place = splits({row.document for row in found})
    out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "validation", "test"):
        mine = [row.plain() for row in found if place[row.document] == split]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in mine)
        (out / f"{split}.jsonl").write_text(text, encoding="utf-8")
        print(f"{out / split}.jsonl: {len(mine)} rows")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
