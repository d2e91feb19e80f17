"""The index of a folder of reports: one line a study with its verdict, newest first.

The rows are cached beside the page, in `index.json`, because reading a large study takes about a
second: only studies that have changed since are read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from harness.analysis.recommendation import recommend
from harness.analysis.scores import shots
from harness.errors import UserError
from harness.report import formatting, page
from harness.report.section import Column, Record, badge, table
from harness.report.sections.verdict import gain_table

if TYPE_CHECKING:
    from harness.analysis.recommendation import Recommendation
    from harness.results import StudyResults

#: A study: its name, a stamp that changes with it, and what reads its tables.
Entry = tuple[str, str, Callable[[], "StudyResults"]]

#: The page's file and that of the cached rows.
PAGE: Final = "index.html"
CACHE: Final = "index.json"

_LONGEST: Final = 200  # characters of a reason
_ENDED: Final = ("complete", "pruned", "failed")
_WORDS: Final = {
    "decided": ("decided", "pick"),
    "tie": ("tie", "reference"),
    "undecided": ("undecided", "open"),
    "none": ("none", "plain"),
    "": ("unreadable", "worse"),
}


@dataclass(frozen=True)
class StudyRow:
    """The row of a study in the index; texts as displayed, empty where there is none.

    Attributes:
        name: the study's name.
        task: its task.
        model: its base model.
        trials: trials that have ended.
        running: trials that have not.
        outcome: of its recommendation; empty if it could not be read.
        caveat: a restriction of the pick.
        pick: the configuration to use.
        score: of the pick, on test, in `unit`.
        interval: its 95 % interval, likewise.
        unit: of the score.
        ended: when its last trial ended (without one, when it began), UTC, ISO 8601.
        fault: why it could not be read.
    """

    name: str
    task: str = ""
    model: str = ""
    trials: int = 0
    running: int = 0
    outcome: str = ""
    caveat: str = ""
    pick: str = ""
    score: str = ""
    interval: str = ""
    unit: str = ""
    ended: str = ""
    fault: str = ""


def line(results: StudyResults) -> StudyRow:
    """A study's line."""
    advice, scale = recommend(results), formatting.scale(results.objective)
    states, model = results.trials["state"], results.sweep.get("model")
    row = StudyRow(
        name=results.name,
        task=str(results.sweep.get("task") or ""),
        model=str((model.get("name") if isinstance(model, dict) else model) or ""),
        trials=int(states.isin(_ENDED).sum()),
        running=int((states == "running").sum()),
        outcome=advice.outcome,
        ended=_ended(results),
    )
    if advice.pick is None or advice.score is None:
        return row
    return dataclasses.replace(
        row,
        caveat=_caveat(results, advice),
        pick=formatting.label(advice.pick),
        score=scale.show(advice.score.value),
        interval=scale.interval(advice.score.low, advice.score.high),
        unit=scale.unit,
    )


def render(lines: Iterable[StudyRow], pages: Collection[str] = ()) -> str:
    """The index page.

    Args:
        lines: one for each study, in any order.
        pages: names of the studies whose page lies beside the index.

    Returns:
        An HTML document that loads nothing, see `harness.report.page`.
    """
    # Two passes, for both sorts are stable: by name, then the newest first, faults last.
    ordered = sorted(sorted(lines, key=lambda row: row.name), key=_age, reverse=True)
    return page.render_page(
        "index.html.j2",
        body=_body(ordered, pages),
        total=len(ordered),
        picks=sum(bool(row.pick) for row in ordered),
        unread=sum(bool(row.fault) for row in ordered),
    )


def write(entries: Iterable[Entry], reports: Path) -> Path:
    """Writes the index of these studies into the folder of reports.

    Args:
        entries: the studies; one that has not changed since the last index is not read.
        reports: the folder of reports, made if missing.

    Returns:
        The page's file.

    Raises:
        UserError: the folder cannot be written to, or a study's own page has the index's name.
    """
    known, lines, records = _cached_rows(reports / CACHE), [], []
    for name, stamp, read in entries:
        if f"{name}.html" == PAGE:
            raise UserError(f"{reports / PAGE}: is the page of study '{name}', not an index")
        row = known.get((name, stamp)) or _read(name, read)
        lines.append(row)
        if not row.fault:  # else it is tried again next time
            records.append({"stamp": stamp, **dataclasses.asdict(row)})
    text = json.dumps({"code": _code(), "studies": records}, indent=1, ensure_ascii=False)
    page.write_text(text + "\n", reports / CACHE)
    pages = [row.name for row in lines if (reports / f"{row.name}.html").is_file()]
    return page.write_text(render(lines, pages), reports / PAGE)


def _read(name: str, read: Callable[[], StudyResults]) -> StudyRow:
    try:
        # By the name of its folder: two folders may hold a study of one name.
        return dataclasses.replace(line(read()), name=name)
    except UserError as error:
        reason = str(error)
    except Exception as error:  # one broken study must not hide all the others
        reason = f"{type(error).__name__}: {error}"
    return StudyRow(name, fault=" ".join(reason.split())[:_LONGEST] or "no reason given")


def _cached_rows(file: Path) -> dict[tuple[str, str], StudyRow]:
    """The rows of the last index by name and stamp; none if another version made them."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        if body["code"] != _code():
            return {}
        return {(record["name"], record["stamp"]): _row_of(record) for record in body["studies"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # an unreadable cache is rebuilt


def _row_of(body: Mapping[str, Any]) -> StudyRow:
    values = {field.name: body[field.name] for field in dataclasses.fields(StudyRow)}
    for field in dataclasses.fields(StudyRow):
        if type(values[field.name]) is not type(getattr(StudyRow, field.name, "")):
            raise TypeError(field.name)
    return StudyRow(**values)


@functools.cache
def _code() -> str:
    """Digest of the code that a row depends on: another version may reach another verdict."""
    digest, home = hashlib.sha256(), Path(__file__).parents[1]
    inside = [file for part in ("analysis", "report") for file in (home / part).rglob("*.py")]
    for file in sorted(
        [*inside, *(home / f"{module}.py" for module in ("results", "aggregates", "costs"))]
    ):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _ended(results: StudyResults) -> str:
    last = pd.to_datetime(results.trials["finished"].dropna()).max()
    when = results.provenance.get("started") if formatting.missing(last) else last
    if formatting.missing(when):
        return ""
    stamp = pd.Timestamp(str(when)).to_pydatetime()
    # A time without a zone is the machine's own, as Optuna writes it.
    return stamp.astimezone(UTC).isoformat(timespec="seconds")


def _age(row: StudyRow) -> tuple[bool, datetime]:
    try:
        return not row.fault, datetime.fromisoformat(row.ended).astimezone(UTC)
    except ValueError:
        return not row.fault, datetime.min.replace(tzinfo=UTC)


def _caveat(results: StudyResults, advice: Recommendation) -> str:
    """The best baseline without a model that the pick does not beat."""
    gains = gain_table(results, advice.score)
    not_beaten = gains[gains["name"].map(shots).isna() & (gains["gain"] <= 0)]
    if not_beaten.empty:
        return ""
    least = not_beaten.sort_values("gain").iloc[0]["name"]
    return f"no better than the {formatting.baseline_label(str(least))}"


def _body(lines: Sequence[StudyRow], pages: Collection[str]) -> Markup:
    frame = pd.DataFrame([dataclasses.asdict(row) for row in lines])
    columns = [
        Column("Study", lambda row: _link(row, pages), numeric=False, value="name", wide=True),
        Column("Verdict", _verdict, numeric=False, value="outcome", note=itemgetter("caveat")),
        Column("Pick", lambda row: _first_text(row, "fault", "pick"), numeric=False, wide=True),
        Column("Score", _score, "95 % interval", note=itemgetter("interval")),
        Column("Unit", lambda row: _first_text(row, "unit"), numeric=False),
        Column(
            "Task",
            lambda row: _first_text(row, "task"),
            "base model",
            numeric=False,
            value="task",
            note=itemgetter("model"),
        ),
        Column("Trials", _trials, "ended", value="trials", note=_running),
        Column("Last trial", _when, "ended, UTC", value="ended"),
    ]
    return table(
        frame,
        columns,
        caption="Test scores of the picks; do not compare them across tasks.",
        sortable=True,
        name="all-studies",
    )


def _link(row: Record, pages: Collection[str]) -> Markup:
    name = str(row["name"])
    if name not in pages:
        return Markup("{}").format(name)
    # With the folder before it, a name with a colon is no scheme.
    return Markup('<a href="./{}.html">{}</a>').format(quote(name, safe=""), name)


def _running(row: Record) -> str:
    return f"{formatting.count(row['running'])} under way" if row["running"] else ""


def _verdict(row: Record) -> Markup:
    return badge(*_WORDS.get(str(row["outcome"]), (str(row["outcome"]), "plain")))


def _score(row: Record) -> str:
    return _first_text(row, "score")


def _trials(row: Record) -> str:
    return formatting.MISSING if row["fault"] else formatting.count(row["trials"])


def _first_text(row: Record, *names: str) -> str:
    return next((str(row[name]) for name in names if row[name]), formatting.MISSING)


def _when(row: Record) -> str:
    return str(row["ended"])[:16].replace("T", " ") if row["trials"] else formatting.MISSING
