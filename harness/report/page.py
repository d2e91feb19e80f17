"""A study's tables -> one self-contained HTML file, written whole or not at all."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from harness.errors import UserError
from harness.report import charts, formatting
from harness.report import section as templating
from harness.report import sections as _sections  # noqa: F401
from harness.report.section import sections_in_order

if TYPE_CHECKING:
    from harness.results import StudyResults


#: What stands on a page where its charts' script goes; no text from outside can hold it.
_CHARTS: Final = "<!-- charts -->"


def render_page(template: str, *, refresh: int | None = None, **values: Any) -> str:
    """A template that extends the page's, with the page's style, scripts and policy.

    Args:
        template: its file.
        refresh: seconds after which an open page loads itself again; None for never.
        values: what else it shows.

    Returns:
        An HTML document that loads nothing: its policy allows its own style and scripts only.
        Where it has a chart, plotly.js and what draws the charts are among these.
    """
    style, script = templating.template_source("page.css"), templating.template_source("page.js")
    body = templating.render_template(
        template,
        style=Markup(style),
        script=Markup(script),
        policy=Markup("{policy}"),
        charts=Markup(_CHARTS),
        refresh=refresh,
        **values,
    )
    text = formatting.escape_invisible(body)
    scripts = chart_scripts() if '<div class="plot"' in text else ()
    tags = "\n".join(
        [
            f'<script type="application/json" id="chart-theme">{_theme()}</script>',
            *(f"<script>{source}</script>" for source in scripts),
        ]
    )
    head, _, foot = text.partition(_CHARTS)
    head = head.replace("{policy}", _policy(style, (script, *scripts)), 1)
    return f"{head}{tags if scripts else ''}{foot}"


@functools.cache
def chart_scripts() -> tuple[str, str]:
    """plotly.js as plotly ships it, and the script that draws a page's charts with it."""
    # Found and not imported: the file is all that is needed.
    package = importlib.util.find_spec("plotly")
    assert package is not None
    assert package.origin is not None
    library = Path(package.origin).with_name("package_data") / "plotly.min.js"
    return library.read_text(encoding="utf-8"), templating.template_source("charts.js")


def _theme() -> str:
    """What all charts of a page share, and each color of the light scheme in the dark one."""
    dark = {color: charts.DARK[name] for name, color in charts.LIGHT.items()}
    return templating.script_json(
        {"template": charts.template(), "dark": dark, "names": charts.LIGHT}
    )


def render(results: StudyResults, refresh: int | None = None) -> str:
    """The whole page.

    Args:
        results: the study; it may be empty.
        refresh: seconds after which an open page loads itself again, while a study runs.

    Returns:
        An HTML document, see `render_page`.
    """
    parts = [
        {
            "name": section.name,
            "title": section.title,
            "body": Markup(section.render(results)),
        }
        for section in sections_in_order()
    ]
    model = results.sweep.get("model")
    return render_page(
        "page.html.j2",
        refresh=refresh,
        results=results,
        model=model.get("name") if isinstance(model, dict) else model,
        task=results.sweep.get("task"),
        version=(results.provenance.get("packages") or {}).get("harness"),
        sections=parts,
    )


def write(results: StudyResults, path: Path | str, refresh: int | None = None) -> Path:
    """Writes the page to a file; one that is there stays as it is until the new one is whole.

    Args:
        results: the study.
        path: the HTML file; its folder is made if missing.
        refresh: seconds after which an open page loads itself again, while a study runs.

    Returns:
        The file's path.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    return write_text(render(results, refresh), Path(path))


def write_text(text: str, path: Path) -> Path:
    """Writes any text likewise, whole or not at all.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: the report cannot be written: {reason}") from error
    return path


def _policy(style: str, scripts: tuple[str, ...]) -> str:
    # plotly adds style elements and attributes of its own, which differ from version to version,
    # and draws heat maps as images that are part of the page.
    charts = len(scripts) > 1
    styles = "'unsafe-inline'; img-src data:" if charts else _hash(style)
    return (
        f"default-src 'none'; style-src {styles}; "
        f"script-src {' '.join(map(_hash, scripts))}; base-uri 'none'; form-action 'none'"
    )


@functools.lru_cache(maxsize=8)
def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
