"""More seeds for the confirm stage than its looks laid down. Decides, runs nothing.

A verdict on them is exploratory: whoever adds seeds until a verdict pleases will get one.
"""

from collections.abc import Mapping
from typing import Any, Final

from harness.analysis.verdict import confirm_state, current_look
from harness.config.sweep import Sweep
from harness.results import StudyResults
from harness.storage.records import Decide

#: Each addition is written down under this and its number, from 1.
ADDED: Final = "added."


def add_seeds(results: StudyResults, count: int, decide: Decide) -> int:
    """Adds seeds for all finalists that are not shown to be worse by more than the margin.

    Args:
        results: the study, its looks done.
        count: how many.
        decide: writes a decision.

    Returns:
        For how many finalists; 0 leaves the study as it is, since there is nothing to compare.
    """
    now = confirm_state(results)
    if now is None:
        return 0
    keys = [
        key for key, worse in zip(now.comparison.array.keys, now.worse, strict=True) if not worse
    ]
    done = now.look.seeds
    noted = {"keys": keys, "from": done, "to": done + count}
    decide(f"{ADDED}{len(seed_additions(results.attributes)) + 1}", noted)
    return len(keys)


def planned_looks_done(results: StudyResults, sweep: Sweep) -> bool:
    """Whether the last look that the sweep laid down is done, or none was needed any more."""
    looks = sweep.confirmation.looks
    if current_look(results).seeds >= looks[-1]:
        return True
    return any(results.attributes.get(f"contenders.{look}") == [] for look in looks[1:])


def seed_additions(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All additions, the first one first: `keys`, and seeds `from` and `to`."""
    found = {
        int(name.removeprefix(ADDED)): value
        for name, value in attributes.items()
        if name.startswith(ADDED)
    }
    return [found[number] for number in sorted(found)]
