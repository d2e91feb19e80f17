"""Pages to visit: studies of all sizes, one with texts, several side by side, and the index."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from harness.analysis import error_analysis, importance
from harness.report import compare, index, page
from harness.results import ANSWER_COLUMNS, PASSAGE_COLUMNS, Texts
from tests import studies

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Names of the pages that `write` makes, without their ending.
NAMES = ("full", "one", "empty", "comparing", "index")


def with_texts(
    results: StudyResults,
    lead: str = "Since Monday the patient takes ",
    form: str = "aspirin",
    label: str = "MEDICATION",
    instead: str = "DOSAGE",
) -> StudyResults:
    """The study with texts that hold one entity each, and answers to them.

    Args:
        results: a study in which something was scored.
        lead: what stands before the entity in every text.
        form: the entity.
        label: what it is; every second one is missed.
        instead: what was said where it was missed, and of a form of the same name that is none.
    """
    who = error_analysis.compared_configurations(results)
    assert who is not None
    rows = results.examples[results.examples["split"] == who.split]
    names = sorted(rows["example"].astype(str).unique())
    passages = [(one, 3 + at % 40, f"{lead}{form} twice.", label) for at, one in enumerate(names)]
    answers = []
    for each in who.names:
        for at, one in enumerate(names):
            told = ("found", "") if at % 2 else ("missed", instead)
            answers.append((each, 1, one, label, form, len(lead), *told, bool(at % 3)))
            answers.append((each, 1, one, instead, form, -1, "spurious", "", pd.NA))
    texts = Texts(
        who.split,
        pd.DataFrame(passages, columns=list(PASSAGE_COLUMNS)),
        pd.DataFrame(answers, columns=list(ANSWER_COLUMNS)),
    )
    return dataclasses.replace(results, texts=texts)


def write(folder: Path) -> None:
    """Writes a page for each of `NAMES`."""
    full = studies.make_results()
    noted = {**full.attributes, "importance": importance.recordable_importances(full)}
    full = with_texts(dataclasses.replace(full, attributes=noted))
    one, empty = studies.one_trial_results(), studies.empty_results()
    for name, results in (("full", full), ("one", one), ("empty", empty)):
        page.write(results, folder / f"{name}.html")
    other = studies.make_results(name="other", seed=1, trials=8, ablation_seeds=2, looks=(2, 4))
    page.write_text(compare.render([full, other, one]), folder / "comparing.html")
    lines = [index.line(each) for each in (full, other, one, empty)]
    lines.append(index.StudyRow("broken", fault="the file is no database"))
    page.write_text(index.render(lines, ["made_up"]), folder / "index.html")
