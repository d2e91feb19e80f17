"""The commands that make a study again and read it, as its own first command has them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.arms import added
from harness.analysis.verdict import current_look

if TYPE_CHECKING:
    from harness.analysis.judging import Finding
    from harness.results import StudyResults

#: Options of `sweep` that say where studies and reports lie, with the verbs that take them, too.
_PLACES = {"--results": ("pick", "report"), "--reports": ("report",)}


def again(results: StudyResults) -> str:
    """The command that makes this study again, or goes on where it was stopped."""
    noted = results.provenance.get("command")
    return str(noted) if noted else f"python -m harness sweep {shlex.quote(results.name)}"


def commands(results: StudyResults) -> tuple[str, ...]:
    """The same, then those that print its recommendation and write its report anew."""
    first = again(results)
    places = dict(_places(first))
    read = (
        shlex.join(
            ["python", "-m", "harness", verb, results.name]
            + [
                word
                for option, value in places.items()
                if verb in _PLACES[option]
                for word in (option, value)
            ]
        )
        for verb in ("pick", "report")
    )
    return (first, *read)


def add_seeds(results: StudyResults, count: int) -> str | None:
    """The command that adds seeds beyond the looks; None while a look is still to come."""
    looks = (results.sweep.get("confirmation") or {}).get("looks") or []
    if not looks or current_look(results).seeds < int(looks[-1]):
        return None
    return f"{again(results)} --add-seeds {count}"


def claim_advice(results: StudyResults, findings: Sequence[Finding]) -> list[str]:
    """What would decide claims that are not decided, and how far those on added seeds hold.

    Args:
        results: the study.
        findings: from `harness.analysis.judging.judge`.
    """
    said = []
    if any(finding.verdict == "not decided" for finding in findings):
        said.append(
            f"More seeds for what is not decided: {again(results)} --claims --add-seeds 3 "
            "(exploratory, for somebody has looked)"
        )
    if added(results.attributes):
        said.append("Seeds were added after a look: verdicts on them are exploratory.")
    return said


def _places(command: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark that was typed and kept as it was
        words = command.split()
    found = []
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in _PLACES and equals:
            found.append((option, value))
        elif option in _PLACES and place + 1 < len(words):
            found.append((option, words[place + 1]))
    return found
