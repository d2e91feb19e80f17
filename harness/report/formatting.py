"""How a page writes numbers and names: units, digits, signs, a dash for what is missing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.analysis.formatting import MetricFormat, NumberStyle, metric_format
from harness.analysis.formatting import baseline_label as baseline_label
from harness.analysis.formatting import highest as highest
from harness.analysis.formatting import missing as missing

if TYPE_CHECKING:
    from harness.results import Objective

#: Displayed where there is no number.
MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
#: Numbers of a page.
STYLE: Final = NumberStyle(_MINUS, MISSING)
_ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
_THIN = "\N{NARROW NO-BREAK SPACE}"  # between thousands and before units
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_LEFT_TO_RIGHT = "\N{LEFT-TO-RIGHT MARK}"
#: Longest display of a name, a level or a setting, in glyphs; tables have the full text.
LONGEST: Final = 100
#: Glyphs of a unit.
_UNIT: Final = 40
#: Control characters but tab and line ends, surrogates, and overrides of the text direction.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def truncate(text: str, room: int = LONGEST) -> str:
    """A text cut to a width, with an ellipsis.

    A text from right to left is followed by a left-to-right mark, so that a number or sign after
    it is not drawn inside it, also where no HTML element can isolate it, as in a chart.

    Args:
        text: of any length.
        room: in glyphs; a wide one, such as a Han character, takes two.
    """
    if text.isascii() and len(text) <= room:
        return escape_invisible(text)
    text, remaining = escape_invisible(text), room
    for index, glyph in enumerate(text):
        remaining -= 2 if unicodedata.east_asian_width(glyph) in "WF" else 1
        if remaining < 0:
            text = text[: max(0, index - 1)] + _ELLIPSIS
            break
    return text + _LEFT_TO_RIGHT if any(map(_runs_left, text)) else text


def _runs_left(glyph: str) -> bool:
    return unicodedata.bidirectional(glyph) in {"R", "AL"}


def escape_invisible(text: str) -> str:
    """A text with the names of invisible characters that act on others in their place.

    An override of the direction (U+202E) would show what follows it, the page's own words too, in
    reverse; control characters and surrogates are not allowed in an HTML file.
    """
    return _INVISIBLE.sub(_named, text)


def _named(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else f"[U+{code:04X}]"


def number(value: Any, digits: int = 1, *, signed: bool = False) -> str:
    """A number with fixed digits and a true minus sign; with `signed` also a plus sign."""
    return STYLE.number(value, digits, signed=signed)


def percent(share: Any, digits: int = 1) -> str:
    """A share in percent, without the sign."""
    return number(None if missing(share) else 100 * float(share), digits)


def known(text: str) -> str:
    """A text, empty where it stands for a missing value, for small print."""
    return "" if text == MISSING else text


def count(value: Any) -> str:
    """A whole number, thousands set apart."""
    if missing(value):
        return MISSING
    return f"{round(float(value)):,}".replace(",", _THIN).replace("-", _MINUS)


def short(value: Any) -> str:
    """A number as a person would type it: `0.05`, `2`, `0.0042`; else the text, cut if long."""
    if missing(value):
        return MISSING
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain:.4g}" if isinstance(plain, float) else truncate(str(plain))


def rate(value: Any, *, fixed: bool = False) -> str:
    """A learning rate to three digits: `4.2e-3`, or `4.20e-3` where it stands in a column."""
    if missing(value):
        return MISSING
    mantissa, exponent = f"{float(value):.2e}".split("e")
    if not fixed:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def p_value(value: Any) -> str:
    """A p-value to three digits, `< 0.001` below that."""
    if missing(value):
        return MISSING
    return "< 0.001" if float(value) < 0.001 else f"{float(value):.3f}"


def seconds(value: Any) -> str:
    """A time in seconds, minutes or hours."""
    if missing(value):
        return MISSING
    amount = float(value)
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min")):
        if amount < limit:
            return f"{amount / size:.1f}{_THIN}{unit}"
    return f"{amount / 3600:.1f}{_THIN}h"


def memory(value: Any) -> str:
    """Bytes in MiB, or GiB from one GiB."""
    if missing(value):
        return MISSING
    mebibytes = float(value) / 2**20
    if mebibytes >= 1024:
        return f"{mebibytes / 1024:.2f}{_THIN}GiB"
    return f"{mebibytes:.0f}{_THIN}MiB"


def column_rate(value: Any) -> str:
    """A learning rate that lines up with those above and below it."""
    return rate(value, fixed=True)


def scale(objective: Objective) -> MetricFormat:
    """How this objective's values are shown."""
    plain = metric_format(objective)
    return plain._replace(unit=truncate(plain.unit, _UNIT), style=STYLE)


def label(config: Mapping[Any, Any], *, rate_too: bool = False) -> str:
    """A configuration in a few words; a part that is not known is left out."""
    known = {name: value for name, value in config.items() if not missing(value)}
    prefixes = {"variant": "", "rank": "r=", "alpha": f"{_ALPHA}=", "target_modules": ""}
    parts = [f"{text}{short(known[name])}" for name, text in prefixes.items() if name in known]
    if float(known.get("dropout", 0)) > 0:
        parts.append(f"dropout {short(known['dropout'])}")
    if known.get("extras"):
        parts.append(short(known["extras"]))
    if rate_too and "learning_rate" in known:
        parts.append(f"lr {rate(known['learning_rate'])}")
    return " ".join(parts) or MISSING


def gained(objective: Objective) -> str:
    """Where a gain leads: `over` what it is measured from, or `below` where less is better."""
    return "over" if objective.sign > 0 else "below"


def with_interval(scale: MetricFormat, row: Mapping[Any, Any]) -> str:
    """A row's value with its interval, where there is one: `94.6 (92.0 to 96.8) points of F1`."""
    interval = scale.interval(row["low"], row["high"])
    value = scale.show(row["value"])
    return f"{value} {scale.unit}" if interval == MISSING else f"{value} ({interval}) {scale.unit}"
