"""What a user writes of a sweep: its YAML file, the search space and the LoRA variants."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.config.space import SearchSpace
    from harness.config.sweep import Sweep, load_sweep
    from harness.config.variants import VARIANTS

__all__ = ["VARIANTS", "SearchSpace", "Sweep", "load_sweep"]

_MODULES = {
    "VARIANTS": "variants",
    "SearchSpace": "space",
    "Sweep": "sweep",
    "load_sweep": "sweep",
}


def __getattr__(name: str) -> Any:
    """Imports a name on first use, since whoever reads results needs no Optuna."""
    if name not in _MODULES:
        raise AttributeError(f"module 'harness.config' has no attribute '{name}'")
    return getattr(importlib.import_module(f"harness.config.{_MODULES[name]}"), name)
