"""What simulated studies come to, as shares and as tables; simulates nothing."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """What a simulated study ended with: whether it picked, rightly, at which number of seeds."""

    picked: bool
    tie: bool
    wrong: bool
    seeds: int


def rates(found: Sequence[dict[str, list[Any]]]) -> dict[str, float]:
    """The mean of each name over all studies."""
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def picks(found: Sequence[Outcome]) -> dict[str, float]:
    """Shares of studies, and of those that picked."""
    picked = sum(one.picked for one in found)
    wrong = sum(one.wrong for one in found)
    return {
        "picked": picked / len(found),
        "tie": sum(one.tie for one in found) / len(found),
        "wrong": wrong / len(found),
        "wrong of picked": wrong / picked if picked else float("nan"),
        "seeds": float(np.mean([one.seeds for one in found])),
    }


def markdown(told: dict[str, Any], command: str) -> str:
    """The figures as tables for `calibration.md`."""
    about = ", ".join(f"{name} {value}" for name, value in told["machine"].items())
    lines = [f"    {command}", "", f"{about}; {told['studies']} studies a line, "
             f"{told['draws']} draws each.", ""]  # fmt: skip
    for name, title in TITLES.items():
        if name not in told:
            continue
        columns = list(next(iter(told[name].values())))
        lines += [
            f"## {title}",
            "",
            f"| | {' | '.join(columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for case, values in told[name].items():
            cells = " | ".join(
                f"{values[x]:.1f}" if x == "seeds" else f"{100 * values[x]:.1f} %" for x in columns
            )
            lines.append(f"| {case} | {cells} |")
        lines.append("")
    return "\n".join(lines)


TITLES: Final = {
    "coverage": "How often a 95 % interval holds the truth",
    "family": "How often one of seven equal levels is called different",
    "pick": "Picks under looks at 5 and 10 seeds, four finalists, 600 examples",
    "power": "Picks of a single look, finalists as ranks go",
    "set": "The model confidence set of five, three of them best",
    "racing": "Racing at 0.01: of nine trials each against the best so far, 200 examples, 4 parts",
}
