"""Names of configurations and amounts of their costs, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_EXTRAS = {"alpha": "alpha={:g}", "dropout": "dropout={:g}", "learning_rate": "lr={:.2g}"}


def labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short names of configurations: rank, variant, targets, and what else tells them apart."""
    short = [f"r={row['rank']} ({row['variant']}, {row['target_modules']}" for row in rows]
    named = []
    for place, row in enumerate(rows):
        twins = [one for one, name in zip(rows, short, strict=True) if name == short[place]]
        extras = [
            form.format(row[name])
            for name, form in _EXTRAS.items()
            if len({one[name] for one in twins}) > 1
        ]
        extras += str(row.get("extras") or "").split()
        named.append(", ".join([short[place], *extras]) + ")")
    return named


def labels_of(table: pd.DataFrame) -> list[str]:
    """Short names of the configurations in a table's rows."""
    return labels([{str(k): v for k, v in row.items()} for row in table.to_dict("records")])


#: A cost as people say it, and what is cheap by it.
_COSTS = {
    "parameters": ("{:,.0f} parameters", 1.0),
    "train_seconds": ("{:,.1f} s of training", 1.0),
    "peak_memory": ("{:,.0f} MiB at the peak of training", 2.0**-20),
    "inference_memory": ("{:,.1f} MiB to serve", 2.0**-20),
}
BY_COST = {
    "parameters": "trainable parameters",
    "train_seconds": "seconds of training",
    "peak_memory": "memory at the peak of training",
    "inference_memory": "memory to serve it unmerged",
}


def cost_words(cost: str, amount: float) -> str:
    """`66,304 parameters`; `unknown` where it is not known."""
    form, factor = _COSTS[cost]
    return form.format(factor * amount) if np.isfinite(amount) else "unknown cost"


def priced(label: str, cost: str, amount: float) -> str:
    """A label with what it costs."""
    return f"{label[:-1]}, {cost_words(cost, amount)})" if np.isfinite(amount) else label
