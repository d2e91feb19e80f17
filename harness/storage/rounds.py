"""Decisions that are made anew when a study's learning rates are widened.

What was decided after the rates were tuned holds for one round. A later round writes its own under
the name and its number (`cells@1`); readers see those of the last round alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

Decide = Callable[[str, Any], Any]

#: Each widening is written down under this and its number, from 1.
WIDENED: Final = "widened."
_LATE: Final = ("cells", "finalists", "finalist_configs", "full", "contenders")


def number(attributes: Mapping[str, Any]) -> int:
    """How often the study's rates were widened."""
    return sum(name.startswith(WIDENED) for name in attributes)


def is_late(name: str) -> bool:
    """Whether a decision depends on tuned rates."""
    return name in _LATE or name.startswith("contenders.")


def visible(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as the last round has them."""
    last = number(attributes)
    if last == 0:
        return dict(attributes)
    found = {n: value for n, value in attributes.items() if "@" not in n and not is_late(n)}
    ending = f"@{last}"
    late = {n: value for n, value in attributes.items() if n.endswith(ending)}
    return found | {name.removesuffix(ending): value for name, value in late.items()}


def deciding(decide: Decide, attributes: Mapping[str, Any]) -> Decide:
    """Writes late decisions under the name of the last round."""
    last = number(attributes)

    def under(name: str, value: Any) -> Any:
        return decide(f"{name}@{last}" if last and is_late(name) else name, value)

    return under
