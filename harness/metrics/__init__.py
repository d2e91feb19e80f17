"""Metrics; importing this package registers all of them.

`find_metric` also finds metrics of the `evaluate` library, by names that begin with `evaluate:`.
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

__all__ = ["METRICS", "Metric", "find_metric"]


def find_metric(name: str, folder: Path) -> Metric:
    """The metric that a task.yaml names.

    Args:
        name: in `METRICS`, or of one of the `evaluate` library, such as `evaluate:./my_metric.py`.
        folder: of the task; such a path is relative to it.

    Raises:
        UserError: there is no such metric, or it cannot be loaded.
    """
    if name.startswith(evaluate_library.PREFIX):
        return evaluate_library.load_metric(name, folder)
    try:
        return METRICS.get(name)
    except UserError as fault:
        if not re.fullmatch(r"[\w./-]+", name):
            raise
        hint = f"metrics of the evaluate library are written {evaluate_library.PREFIX}{name}"
        raise UserError(f"{fault}; {hint}") from None
