"""Kinds of task, one file each; importing this package lets each register itself."""

from __future__ import annotations

import importlib
import pkgutil

from harness.kinds.kind import HEADED, KINDS, Answers, Example, Given, Kind, Parsed, kind_under

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "HEADED",
    "KINDS",
    "Answers",
    "Example",
    "Given",
    "Kind",
    "Parsed",
    "kind_under",
]
