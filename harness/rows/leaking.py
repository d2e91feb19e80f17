"""What to do about inputs that stand in two splits: say so, or leave them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.formats import Leak, Row, input_key

#: How many are named in a message.
_EXAMPLES = 2


def told(found: Sequence[Leak]) -> str:
    """How many inputs stand in more than one split, where, and two of them."""
    counts = Counter((leak.split, leak.other_split) for leak in found)
    places = ", ".join(
        f"{number} of {split} in {other}" for (split, other), number in counts.items()
    )
    named = ", ".join(
        f"{leak.id} ({leak.split}) and {leak.other_id} ({leak.other_split})"
        for leak in found[:_EXAMPLES]
    )
    stand = "input stands" if len(found) == 1 else "inputs stand"
    return f"{len(found)} {stand} in more than one split ({places}), such as {named}"


def without(rows: Mapping[str, Sequence[Row]]) -> dict[str, tuple[Row, ...]]:
    """Rows by split, less those whose input stands in a later split too.

    Training rows go before validation rows, and these before test rows: scores stay comparable
    with those that others have on the same test rows.

    Args:
        rows: by split, the training split first.
    """
    kept: dict[str, tuple[Row, ...]] = {}
    later: set[str] = set()
    for split, own in reversed(list(rows.items())):
        kept[split] = tuple(row for row in own if input_key(row) not in later)
        later.update(map(input_key, own))
    return {split: kept[split] for split in rows}
