"""What `trials.py` measured, told: ratios, trials an hour, the machine, and a block for LOG.md."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from benchmarks.plain_loop import Spent

#: The loops, and what each of them is.
LOOPS: Final = {
    "a": "plain, as usual",
    "b": "plain, strongest",
    "c": "SequentialTrainer",
    "d": "slots as chosen",
    "c16": "SequentialTrainer, bfloat16",
    "d16": "slots as chosen, bfloat16",
}
_PARTS: Final = ("load", "train", "score")


@dataclass(frozen=True)
class Round:
    """What one loop took for all trials of a repeat.

    Attributes:
        trials: how many.
        parts: seconds of `load`, `train` and `score`.
        loss: mean training loss, nats an answer token.
        score: mean of the objective.
        written: mean characters of an answer: whoever writes more has more to do.
    """

    trials: int
    parts: Mapping[str, Spent]
    loss: float
    score: float
    written: float

    def seconds(self, part: str, clock: str = "cpu") -> float:
        """Seconds a trial of one part, or of all with `total`."""
        names = _PARTS if part == "total" else (part,)
        return float(sum(getattr(self.parts[name], clock) for name in names)) / self.trials

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "parts": {k: v._asdict() for k, v in self.parts.items()}}

    def line(self) -> str:
        """In one line."""
        told = ", ".join(f"{part} {self.seconds(part):.2f}" for part in (*_PARTS, "total"))
        return (
            f"{told} s of the processor a trial ({self.seconds('total', 'wall'):.2f} by the "
            f"clock); loss {self.loss:.3f}, score {self.score:.3f}, {self.written:.0f} characters"
        )


def summary(rounds: Sequence[Mapping[str, Round]]) -> dict[str, dict[str, Any]]:
    """For each loop medians over the repeats, and of the ratios within each repeat."""
    found: dict[str, dict[str, Any]] = {}
    for name in rounds[0]:
        mine = [one[name] for one in rounds]
        told: dict[str, Any] = {
            f"{part}_{clock}": median(one.seconds(part, clock) for one in mine)
            for part in (*_PARTS, "total")
            for clock in ("cpu", "wall")
        }
        told |= {
            "trials_an_hour": 3600 / told["total_cpu"],
            "loss": median(one.loss for one in mine),
            "score": median(one.score for one in mine),
            "written": median(one.written for one in mine),
        }
        for other in ("a", "b"):
            if other in rounds[0]:
                told[f"times_{other}"] = _ratios(rounds, other, name)
        found[name] = told
    return found


def _ratios(rounds: Sequence[Mapping[str, Round]], other: str, name: str) -> dict[str, Any]:
    """How many times faster than another: median, smallest and largest over the repeats."""
    found: dict[str, Any] = {}
    for part in ("train", "score", "total"):
        for clock in ("cpu", "wall"):
            each = [
                one[other].seconds(part, clock) / one[name].seconds(part, clock) for one in rounds
            ]
            found[f"{part}_{clock}"] = [median(each), min(each), max(each)]
    return found


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    root = Path(__file__).parent
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "load": round(psutil.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "peft", "optuna")},
        "commit": _commit(root),
    }


def _commit(root: Path) -> str:
    ask = ["git", "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(ask, cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return told.stdout.strip() or "unknown"


def _processor() -> str:
    """Its name and what it multiplies bfloat16 with."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    pairs = [line.partition(":") for line in lines]
    told = {name.strip(): value.strip() for name, _, value in pairs}
    extras = [
        each for each in ("amx_bf16", "avx512_bf16") if each in told.get("flags", "").split()
    ]
    return " ".join([told.get("model name", platform.processor()), *extras])


def markdown(found: Mapping[str, Any]) -> str:
    """A block for LOG.md."""
    asked, facts = found["asked"], found["facts"]
    lines = [
        ", ".join(f"{name} {value}" for name, value in found["machine"].items()),
        f"{asked['trials']} trials, {asked['steps']} steps, {asked['examples']} scored examples, "
        f"{asked['repeats']} repeats, c and d in {asked['dtype']}; "
        + ", ".join(f"{name} {value}" for name, value in facts.items()),
        "",
        "Processor seconds a trial, medians; total by the clock in brackets. Ratios are of the "
        "processor seconds of one repeat, median (smallest to largest).",
        "",
        "| loop | load | train | score | total | trials an hour | times a | times b | "
        "train, score times a | loss | score | characters |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, told in found["summary"].items():
        pairs = [told[f"{part}_cpu"] for part in _PARTS]
        against = told.get("times_a")
        parts = f"{against['train_cpu'][0]:.2f}, {against['score_cpu'][0]:.2f}" if against else "-"
        lines.append(
            f"| {name} {LOOPS[name]} | {' | '.join(f'{one:.2f}' for one in pairs)} "
            f"| {told['total_cpu']:.2f} ({told['total_wall']:.2f}) "
            f"| {told['trials_an_hour']:.0f} | {_spread(told, 'a')} | {_spread(told, 'b')} "
            f"| {parts} | {told['loss']:.3f} | {told['score']:.3f} | {told['written']:.0f} |"
        )
    return "\n".join(lines)


def _spread(told: Mapping[str, Any], other: str) -> str:
    if f"times_{other}" not in told:
        return "-"
    middle, low, high = told[f"times_{other}"]["total_cpu"]
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
