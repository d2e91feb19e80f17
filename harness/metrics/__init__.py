"""Metrics, one file each; importing this package lets each register itself.

`find` answers those and, by names that begin with `evaluate:`, any of the `evaluate` library.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from harness.errors import UserError
from harness.metrics import evaluate_library
from harness.metrics.metric import METRICS, Metric

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METRICS", "Metric", "find"]


def find(name: str, folder: Path) -> Metric:
    """The metric that a task.yaml names.

    Args:
        name: of `METRICS`, or one of the `evaluate` library, such as `evaluate:./my_metric.py`.
        folder: the task's, which such a path is relative to.

    Raises:
        UserError: there is no such metric, or it cannot be loaded.
    """
    if name.startswith(evaluate_library.PREFIX):
        return evaluate_library.find(name, folder)
    try:
        return METRICS.get(name)
    except UserError as fault:
        if not re.fullmatch(r"[\w./-]+", name):
            raise
        hint = f"one of the evaluate library is named {evaluate_library.PREFIX}{name}"
        raise UserError(f"{fault}; {hint}") from None
