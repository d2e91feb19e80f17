"""Costs of a configuration, and constraints on them: `memory<8GB`, `parameters<1M`."""

import re
from typing import Final, NamedTuple

from harness.errors import UserError, did_you_mean

#: Costs that a pick may be the cheapest by.
COSTS: Final = ("parameters", "train_seconds", "peak_memory", "inference_memory")
#: Shorter names of costs.
_SHORT: Final = {"memory": "peak_memory", "seconds": "train_seconds"}
_MEMORY: Final = {
    **{"": 1.0, "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    **{"KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30, "TIB": 2.0**40},
}
#: Units of a number, in capitals, and the factors that they stand for.
_UNITS: Final = {
    "parameters": {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9},
    "train_seconds": {"": 1.0, "S": 1.0, "MIN": 60.0, "H": 3600.0},
    "peak_memory": _MEMORY,
    "inference_memory": _MEMORY,
}
_FORM: Final = re.compile(r"\s*([a-z_]+)\s*(<=?)\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([A-Za-z]*)\s*")
_LIKE: Final = "write it as memory<8GB, parameters<1M or seconds<5min"


class Constraint(NamedTuple):
    """A constraint: an upper bound on a cost.

    Attributes:
        cost: one of `COSTS`.
        limit: parameters, seconds or bytes.
        included: whether the limit itself is allowed.
        text: as it was written.
    """

    cost: str
    limit: float
    included: bool
    text: str

    def satisfied_by(self, amount: float) -> bool:
        """Whether a cost satisfies the constraint; an unknown one (NaN) does not."""
        return amount < self.limit or (self.included and amount == self.limit)


def parse_constraint(text: str) -> Constraint:
    """Parses a constraint.

    Args:
        text: a cost of `COSTS`, `memory` (at the peak of training) or `seconds` (of
            training), `<` or `<=`, and a number with a unit: K, M, B; s, min, h; KB to TB, KiB to
            TiB.

    Raises:
        UserError: it is not one.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise UserError(f"'{text}' is no constraint; {_LIKE}")
    name, sign, number, unit = match.groups()
    cost = _SHORT.get(name, name)
    if cost not in COSTS:
        raise UserError(f"'{text}': unknown '{name}'; {did_you_mean(name, [*COSTS, *_SHORT])}")
    factor = _UNITS[cost].get(unit.upper())
    if factor is None:
        known = ", ".join(unit_name for unit_name in _UNITS[cost] if unit_name)
        raise UserError(f"'{text}': unknown unit '{unit}' of {cost}; known are {known}")
    return Constraint(cost, float(number) * factor, sign == "<=", text.strip().replace(" ", ""))
