"""Data formats, one module each; importing this package registers all of them."""

from __future__ import annotations

import importlib
import pkgutil

from harness.data.rows import FORMATS, Row, Span

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["FORMATS", "Row", "Span"]
