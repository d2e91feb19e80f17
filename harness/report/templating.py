"""The Jinja environment of the report: everything is escaped, every missing name is an error.

Knows where the templates lie, not what is in them.
"""

from __future__ import annotations

from typing import Any, Final

import jinja2
from markupsafe import Markup

from harness.report import display

_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.PackageLoader("harness.report", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["show"] = {
    "count": display.count,
    "memory": display.memory,
    "rate": display.rate,
    "seconds": display.seconds,
    "short": display.short,
}


def fill(template: str, **values: Any) -> Markup:
    """A template of the report, filled in; texts are escaped, `Markup` is taken as it is."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))


def source(template: str) -> str:
    """A template's own text, for what must be known to the byte, such as a hashed script."""
    assert _ENVIRONMENT.loader is not None
    return _ENVIRONMENT.loader.get_source(_ENVIRONMENT, template)[0]
