"""LoRA hyperparameter search with statistics on which configuration to use.

    import harness

    sweep = harness.load_sweep("ner_medical", ["search.trials=10"])
    results = harness.run_sweep(sweep, "my_study")
    print(harness.recommend(results).evidence)

`read_study` returns the tables of a study, without importing torch; `plots` draws
them.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harness import plots
    from harness.analysis.recommendation import Recommendation, recommend
    from harness.config.sweep import Sweep, load_sweep
    from harness.errors import UserError
    from harness.report.page import write as write_report
    from harness.results import StudyResults
    from harness.storage.records import read_study
    from harness.study.launcher import run_sweep

__all__ = [
    "Recommendation",
    "StudyResults",
    "Sweep",
    "UserError",
    "load_sweep",
    "plots",
    "read_study",
    "recommend",
    "run_sweep",
    "write_report",
]

_MODULES = {
    "Recommendation": ("harness.analysis.recommendation", "Recommendation"),
    "StudyResults": ("harness.results", "StudyResults"),
    "Sweep": ("harness.config.sweep", "Sweep"),
    "UserError": ("harness.errors", "UserError"),
    "load_sweep": ("harness.config.sweep", "load_sweep"),
    "read_study": ("harness.storage.records", "read_study"),
    "recommend": ("harness.analysis.recommendation", "recommend"),
    "run_sweep": ("harness.study.launcher", "run_sweep"),
    "write_report": ("harness.report.page", "write"),
}

#: Beginnings of log messages to suppress, by logger. bitsandbytes logs one on import on processors
#: with AVX512-BF16: it lacks a kernel for a weight layout that no base model here has
#: (`harness.models.base_model`), so no user can act on it.
SILENCED_LOGS: Final = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
}


def _without(prefix: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not record.getMessage().startswith(prefix)


# Must precede the import of bitsandbytes, which logs at once.
for _logger, _prefix in SILENCED_LOGS.items():
    logging.getLogger(_logger).addFilter(_without(_prefix))


def __getattr__(name: str) -> Any:
    """Imports a public name on first use, so that `import harness` stays light."""
    if name == "plots":
        return importlib.import_module("harness.plots")
    if name not in _MODULES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    module, attribute = _MODULES[name]
    return getattr(importlib.import_module(module), attribute)
