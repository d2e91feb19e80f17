"""A study's tables as Markdown, CSV, LaTeX or JSON: the numbers behind the page, not rounded.

Each section publishes tidy tables; here they are written down. Knows none of the sections. Charts
become files elsewhere; their formats are only named here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.recommendation import recommend
from harness.report import figures, page, pictures
from harness.report.section import sections_in_order

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Significant digits where numbers are for people; programs get all of them.
_DIGITS: Final = 6


class Published(NamedTuple):
    """One table of a section.

    Attributes:
        section: its name.
        title: heading of the section.
        name: of the table.
        frame: one row a line; never empty.
    """

    section: str
    title: str
    name: str
    frame: pd.DataFrame


def published_tables(results: StudyResults) -> Iterator[Published]:
    """All tables that have a row, in the order of the page."""
    for section in sections_in_order():
        for name, frame in section.tables(results).items():
            if len(frame):
                plain = frame.reset_index(drop=True)
                yield Published(section.name, section.title, name, plain)


def as_markdown(results: StudyResults) -> str:
    """Tables of GitHub's Markdown under the sections' headings, after the evidence."""
    lines = [f"# {_escaped(results.name)}", "", _escaped(recommend(results).evidence), ""]
    title = ""
    for each in published_tables(results):
        if each.title != title:
            title = each.title
            lines += [f"## {title}", ""]
        lines += [f"### {_escaped(each.name)}", ""]
        lines.append("| " + " | ".join(map(_escaped, each.frame.columns)) + " |")
        lines.append("|" + "---|" * len(each.frame.columns))
        lines += [
            "| " + " | ".join(_escaped(_told(cell)) for cell in row) + " |"
            for row in each.frame.itertuples(index=False)
        ]
        lines.append("")
    return "\n".join(lines)


def as_latex(results: StudyResults) -> str:
    """A document of booktabs tables that compiles as it stands, each also usable by itself."""
    parts = [_PREAMBLE, r"\section*{" + _latex(results.name) + "}", ""]
    parts += [_latex(recommend(results).evidence), ""]
    for each in published_tables(results):
        frame = each.frame.map(_told)
        frame.columns = [_latex(str(column)) for column in frame.columns]
        body = frame.map(_latex).to_latex(
            index=False, escape=False, longtable=True, caption=_latex(f"{each.title}: {each.name}")
        )
        parts += [body]
    return "\n".join([*parts, r"\end{document}", ""])


def as_json(results: StudyResults) -> str:
    """All tables with what a program needs to read them alone."""
    verdict = recommend(results)
    body = {
        "study": results.name,
        "metric": results.objective.name,
        "direction": results.objective.direction,
        "margin": results.objective.margin,
        "outcome": verdict.outcome,
        "evidence": verdict.evidence,
        "pick": verdict.pick,
        "tables": {
            f"{each.section}/{each.name}": each.frame.to_dict("records")
            for each in published_tables(results)
        },
        "provenance": results.provenance,
    }
    return json.dumps(_plain(body), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(results: StudyResults, folder: Path) -> Path:
    """One CSV file a table, `section-table.csv`, in a folder of the study's own.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    for each in published_tables(results):
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in each.name)
        text = each.frame.to_csv(index=False, lineterminator="\n")
        page.write_text(text, folder / f"{each.section}-{name}.csv")
    return folder


#: Formats that are one text, by their name: what makes it, and the ending of its file.
TEXTS: Final[dict[str, tuple[Callable[[StudyResults], str], str]]] = {
    "html": (page.render, ".html"),
    "md": (as_markdown, ".md"),
    "latex": (as_latex, ".tex"),
    "json": (as_json, ".json"),
}
#: Formats that are one file a table or chart, by their name: what writes them, and to which folder
#: of the study's own.
FOLDERS: Final[dict[str, tuple[Callable[[StudyResults, Path], Path], str]]] = {
    "csv": (write_csv, ""),
    "svg": (figures.write, "figures"),
    "png": (pictures.write, "figures"),
}
FORMATS: Final = (*TEXTS, *FOLDERS)


def write(results: StudyResults, form: str, reports: Path) -> Path:
    """Writes a study in one of `FORMATS`.

    Args:
        results: the study.
        form: the format's name.
        reports: the folder of reports.

    Returns:
        The file; of CSV, SVG and PNG the folder.

    Raises:
        UserError: it cannot be written; of SVG and PNG also, there is no figure yet; of PNG also,
            there is no browser to draw with.
    """
    if form in FOLDERS:
        put, folder = FOLDERS[form]
        return put(results, reports / results.name / folder)
    make, ending = TEXTS[form]
    return page.write_text(make(results), reports / f"{results.name}{ending}")


#: Code points that the T1 encoding has glyphs for lie below.
_GLYPHS: Final = 0x180
_PREAMBLE: Final = r"""\documentclass[10pt,landscape]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=1cm]{geometry}
\usepackage{booktabs,longtable,textcomp}
\setlength{\tabcolsep}{3pt}
\begin{document}
\tiny"""
_SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\n": " ",
}


def _latex(text: str) -> str:
    # What T1 has no glyph for would stop the document.
    known = "".join(
        char if ord(char) < 0x180 else "?" for char in text if char >= " " or char == "\n"
    )
    return "".join(_SPECIAL.get(char, char) for char in known)


def _escaped(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("<", "&lt;").replace("\r", " ")


def _told(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""
    return str(value)


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else str(value)
