"""Searches LoRA hyperparameters on a task and says, with statistics, which to use.

    import harness

    sweep = harness.load_sweep("ner_medical", ["search.trials=10"])
    results = harness.run_sweep(sweep, "my_study")
    print(harness.recommend(results).evidence)

`read_study` gives the tables of a study that has run, without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from harness.hushed import hush

if TYPE_CHECKING:
    from harness.analysis.recommendation import Recommendation, recommend
    from harness.errors import UserError
    from harness.report.page import write as write_report
    from harness.results import StudyResults
    from harness.session import run_sweep
    from harness.storage.records import read_study
    from harness.sweep import Sweep
    from harness.sweep import load as load_sweep

__all__ = [
    "Recommendation",
    "StudyResults",
    "Sweep",
    "UserError",
    "load_sweep",
    "read_study",
    "recommend",
    "run_sweep",
    "write_report",
]

_HOMES = {
    "Recommendation": ("harness.analysis.recommendation", "Recommendation"),
    "StudyResults": ("harness.results", "StudyResults"),
    "Sweep": ("harness.sweep", "Sweep"),
    "UserError": ("harness.errors", "UserError"),
    "load_sweep": ("harness.sweep", "load"),
    "read_study": ("harness.storage.records", "read_study"),
    "recommend": ("harness.analysis.recommendation", "recommend"),
    "run_sweep": ("harness.session", "run_sweep"),
    "write_report": ("harness.report.page", "write"),
}

hush()


def __getattr__(name: str) -> Any:
    """Imports a name of the face when it is first used: `import harness` alone stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
