"""Data formats, one file each; importing this package lets each register itself."""

from __future__ import annotations

import importlib
import pkgutil

from harness.data.rows import (
    FORMATS,
    Format,
    Leak,
    Options,
    Row,
    RowSpec,
    Span,
    fingerprint,
    input_key,
    leaks,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "FORMATS",
    "Format",
    "Leak",
    "Options",
    "Row",
    "RowSpec",
    "Span",
    "fingerprint",
    "input_key",
    "leaks",
]
