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


def shared(results: StudyResults, other: StudyResults) -> StudyResults:
    """Has a study keep all that is kept of another one, now and later.

    Args:
        results: equal to the other one in everything that is kept.
        other: where it comes from.

    Returns:
        `results`.
    """
    if id(results) != id(other):
        _kept[id(results)] = _of(other)
        weakref.finalize(results, _kept.pop, id(results), None)
    return results


def _of(results: StudyResults) -> dict[Hashable, Any]:
    place = id(results)
    if place not in _kept:
        _kept[place] = {}
        weakref.finalize(results, _kept.pop, place, None)
    return _kept[place]


def once(results: StudyResults, name: Hashable, make: Callable[[], T]) -> T:
    """What `make` answers, computed at the first call with that name.

    Args:
        results: the study that it is of.
        name: tells it from all else that is kept of the study.
        make: computes it.
    """
    kept = _of(results)
    if name not in kept:
        kept[name] = make()
    found: T = kept[name]
    return found
