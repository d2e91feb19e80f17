"""A study as files: its tables as Markdown, CSV, LaTeX or JSON, its charts as SVG or PNG.

The tables are those that the sections publish, with numbers that are not rounded.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd

from harness.analysis.recommendation import recommend
from harness.errors import UserError
from harness.report import charts, page
from harness.report.section import sections_in_order

if TYPE_CHECKING:
    from harness.report.section import Chart
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
    for published in published_tables(results):
        if published.title != title:
            title = published.title
            lines += [f"## {title}", ""]
        lines += [f"### {_escaped(published.name)}", ""]
        lines.append("| " + " | ".join(map(_escaped, published.frame.columns)) + " |")
        lines.append("|" + "---|" * len(published.frame.columns))
        lines += [
            "| " + " | ".join(_escaped(_cell_text(cell)) for cell in row) + " |"
            for row in published.frame.itertuples(index=False)
        ]
        lines.append("")
    return "\n".join(lines)


def as_latex(results: StudyResults) -> str:
    """A document of booktabs tables that compiles as it stands, each also usable by itself."""
    parts = [_PREAMBLE, r"\section*{" + _latex(results.name) + "}", ""]
    parts += [_latex(recommend(results).evidence), ""]
    for published in published_tables(results):
        frame = published.frame.map(_cell_text)
        frame.columns = [_latex(str(column)) for column in frame.columns]
        caption = _latex(f"{published.title}: {published.name}")
        body = frame.map(_latex)
        parts.append(body.to_latex(index=False, escape=False, longtable=True, caption=caption))
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
            f"{published.section}/{published.name}": published.frame.to_dict("records")
            for published in published_tables(results)
        },
        "provenance": results.provenance,
    }
    return json.dumps(_plain(body), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_csv(results: StudyResults, folder: Path) -> Path:
    """One CSV file a table, `section-table.csv`, in a folder of the study's own.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    for published in published_tables(results):
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in published.name)
        text = published.frame.to_csv(index=False, lineterminator="\n")
        page.write_text(text, folder / f"{published.section}-{name}.csv")
    return folder


#: Width of a figure in pixels, and how many pixels of its file one of these is.
_WIDTH: Final = 720
_SCALES: Final = {"svg": 1, "png": 2}
#: What a browser may be called.
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Characters of a file's name that come from a caption.
_SLUG: Final = 80


def named_charts(results: StudyResults) -> Iterator[tuple[str, Chart]]:
    """All charts of the page in its order, by `section-number-caption`, a safe name of a file."""
    for section in sections_in_order():
        for number, chart in enumerate(section.charts(results), 1):
            yield f"{section.name}-{number:02}-{slug(chart.caption)}", chart


def write_figures(results: StudyResults, folder: Path, style: str) -> Path:
    """One file a chart, drawn by plotly's kaleido with the system's browser; all or none.

    Args:
        results: the study.
        folder: of its own; it is made if missing.
        style: `svg` or `png`.

    Raises:
        UserError: the study has no chart yet, kaleido or a browser is missing or fails, or the
            folder cannot be written to.
    """
    named = dict(named_charts(results))
    if not named:
        raise UserError(f"{results.name}: the page of this study has no figure yet")
    browser = _browser(style)
    figures = [charts.with_caption(*chart, width=_WIDTH) for chart in named.values()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that files are moved within one file system.
        with tempfile.TemporaryDirectory(prefix="drawing-", dir=folder) as draft:
            files = [Path(draft) / f"{name}.{style}" for name in named]
            _draw(figures, files, style, browser)
            for file in files:
                file.replace(folder / file.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder}: the report cannot be written: {reason}") from error
    return folder


def _browser(style: str) -> str:
    """Path of the system's Chromium or Chrome, after a look for kaleido."""
    if importlib.util.find_spec("kaleido") is None:
        raise UserError(f"--format {style}: needs kaleido: pip install 'harness[figures]'")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(
            f"--format {style}: no Chromium or Chrome on the PATH to draw with; install one (on "
            "Debian: apt-get install chromium)"
        )
    return browser


def _draw(figures: list[Any], files: list[Path], style: str, browser: str) -> None:
    import plotly.io

    before = os.environ.get("BROWSER_PATH")
    os.environ["BROWSER_PATH"] = before or browser
    try:
        heights = [figure.layout.height for figure in figures]
        plotly.io.write_images(
            figures, files, format=style, scale=_SCALES[style], width=_WIDTH, height=heights
        )
    except OSError:
        raise
    except Exception as error:  # of kaleido, its browser or the pipe between them
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--format {style}: {browser} drew no figures: {reason}") from error
    finally:
        if before is None:
            del os.environ["BROWSER_PATH"]


def slug(caption: str) -> str:
    """A caption's first sentence as a part of a file's name: a to z, digits, single hyphens."""
    # What follows the first sentence changes with the numbers.
    plain = unicodedata.normalize("NFKD", caption.partition(". ")[0]).encode("ascii", "ignore")
    words = "-".join(re.findall("[a-z0-9]+", plain.decode().lower()))
    if len(words) > _SLUG:
        words = words[: _SLUG + 1].rpartition("-")[0] or words[:_SLUG]
    return words or "chart"


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
    "svg": (functools.partial(write_figures, style="svg"), "figures"),
    "png": (functools.partial(write_figures, style="png"), "figures"),
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
        UserError: it cannot be written; of SVG and PNG also, there is no figure yet, or kaleido
            or a browser to draw with is missing.
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
    known = (char for char in text if char >= " " or char == "\n")
    return "".join(_SPECIAL.get(char, char if ord(char) < _GLYPHS else "?") for char in known)


def _escaped(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("<", "&lt;").replace("\r", " ")


def _cell_text(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.{_DIGITS}g}" if math.isfinite(value) else ""
    return str(value)


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else str(value)
