"""What `time_to_pick.py` found, told: ratios of times, and a block for LOG.md."""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from benchmarks.charging import StageTime

#: How many times our time the others should take at least.
BARS: Final = {"full grid": 12.0, "small grid": 12.0, "TPE, median pruner": 4.0}
#: What the others are held against.
_AGAINST: Final = ("all", "search", "all, in turns", "search, in turns")


def ratios(
    costs: Mapping[str, float],
    stages: Mapping[str, StageTime],
    workers: int,
    charged: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """How many times as much of the processor's time the others take.

    Args:
        costs: processor seconds of the others.
        stages: of our study, with `all`.
        workers: of our study; each is counted with all of its wall time.
        charged: processor seconds of our study and its search, at the engine's prices.

    Returns:
        For each of the others, against the whole study (`all`) and its search alone (`search`) as
        the study took them, and at prices that were measured in turns (`all, in turns`, ...).
    """
    ours = {stage: stages[stage].wall * workers for stage in ("all", "search") if stage in stages}
    ours |= {f"{stage}, in turns": seconds for stage, seconds in charged.items()}
    return {
        name: {stage: seconds / own for stage, own in ours.items() if own > 0}
        for name, seconds in costs.items()
    }


def markdown(found: Mapping[str, Any]) -> str:
    """A block for LOG.md."""
    asked = found["asked"]
    lines = [
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        f"Study {asked['study']}, {found['workers']} workers; trainings of {asked['steps']} "
        f"steps, prices from {asked['sample']} configurations, {asked['seeds']} fresh seeds.",
        "",
        "| stage of (i) | trials | minutes by the clock | of training and scoring, summed |",
        "|---|---|---|---|",
    ]
    for name, each in found["stages"].items():
        wall, worked = each["wall"] / 60, each["worked"] / 60
        lines.append(f"| {name} | {each['trials']} | {wall:.1f} | {worked:.1f} |")
    each = found["price_ratios"]
    lines += [
        "",
        f"A whole trial of the usual loop takes {median(each):.2f} ({min(each):.2f} to "
        f"{max(each):.2f}) times as long as one of this project's engine.",
        *_costs(found),
        "",
        "In turns: (i) is charged, too, for its own trials' steps and scored examples, at the "
        "engine's prices, which were measured beside those of the usual loop.",
        *_picks(found),
    ]
    return "\n".join(lines)


def _costs(found: Mapping[str, Any]) -> list[str]:
    searched = found["search"]
    ended = ", ".join(f"{count} {name}" for name, count in searched["outcomes"].items())
    trials = {name: f"{grid['trials']} (multiplied)" for name, grid in found["grids"].items()}
    trials["TPE, median pruner"] = f"{ended} (run; time charged)"
    lines = [
        "",
        "| the others, with the usual loop | trials | hours of the processor "
        "| times (i) | times (i)'s search | times (i), in turns | times its search, in turns "
        "| bar | met by the whole of (i) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, cost in found["costs"].items():
        ratio = found["ratios"][name]
        cells = [ratio.get(each, float("nan")) for each in _AGAINST]
        whole = cells[0]
        bar = BARS.get(name)
        met = "-" if bar is None else "yes" if whole >= bar else "no"
        lines.append(
            f"| {name} | {trials.get(name, 'the same (charged)')} | {cost['cpu'] / 3600:.2f} "
            f"| {' | '.join(f'{each:.2f}' for each in cells)} "
            f"| {'-' if bar is None else f'{bar:g}'} | {met} |"
        )
    return lines


def _picks(found: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        "| pick | configuration | test score, 95 % interval | less that of the sweep's pick |",
        "|---|---|---|---|",
    ]
    for name, label in found["picks"].items():
        told = found["tested"][name]
        score = f"{told['value']:.4f} ({told['low']:.4f} to {told['high']:.4f})"
        difference = "-"
        if "difference" in told:
            middle, low, high = (each + 0.0 for each in told["difference"])  # no -0
            difference = f"{middle:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(f"| {name} | {label} | {score} | {difference} |")
    return lines
