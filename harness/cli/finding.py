"""What a check of `harness doctor` answers, and how it is printed."""

import textwrap
from typing import Final, Literal, NamedTuple

_INDENT: Final = " " * 19


class Line(NamedTuple):
    """One finding.

    Attributes:
        level: `ok`; `warn`, something is left out or slower; `no`, it does not work.
        what: what was looked at.
        found: what was found, and what it means.
        advice: what to do, if anything.
        needed: whether nothing works without it.
    """

    level: Literal["ok", "warn", "no"]
    what: str
    found: str
    advice: str = ""
    needed: bool = False


def text(line: Line) -> str:
    """A finding as it is printed, at most 99 columns wide."""
    rows = textwrap.wrap(
        f"{line.level:<4} {line.what:<13} {line.found}",
        width=99,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([*rows, *([f"{_INDENT}-> {line.advice}"] if line.advice else [])])
