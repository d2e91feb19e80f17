"""Keeps what was computed of a study for as long as its tables live, whatever that is."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from harness.results import StudyResults

T = TypeVar("T")

# By identity: tables cannot be hashed, and a study's are never changed once they are read.
_kept: dict[int, dict[Hashable, Any]] = {}


def once(results: StudyResults, name: Hashable, make: Callable[[], T]) -> T:
    """What `make` answers, computed at the first call with that name.

    Args:
        results: the study that it is of.
        name: tells it from all else that is kept of the study.
        make: computes it.
    """
    place = id(results)
    if place not in _kept:
        _kept[place] = {}
        weakref.finalize(results, _kept.pop, place, None)
    if name not in _kept[place]:
        _kept[place][name] = make()
    found: T = _kept[place][name]
    return found
