"""A study's tables -> one self-contained HTML file, written whole or not at all.

Knows none of the sections: it renders those that are registered, in their order.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from harness.errors import UserError
from harness.report import formatting
from harness.report import section as templating
from harness.report import sections as _sections  # noqa: F401
from harness.report.section import sections_in_order

if TYPE_CHECKING:
    from harness.results import StudyResults


def render_page(template: str, *, refresh: int | None = None, **values: Any) -> str:
    """A template that extends the page's, with the page's style, script and policy.

    Args:
        template: its file.
        refresh: seconds after which an open page loads itself again; None for never.
        values: what else it shows.

    Returns:
        An HTML document that loads nothing: its policy allows its own style and script only.
    """
    style, script = templating.template_source("page.css"), templating.template_source("page.js")
    whole = templating.render_template(
        template,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        refresh=refresh,
        **values,
    )
    return formatting.escape_invisible(whole)


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


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
