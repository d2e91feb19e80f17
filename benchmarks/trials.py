"""Trials an hour of this project against the plain loops that people write around Optuna.

    python -m benchmarks.trials [--loops a,b,c,d] [--repeats 5] [--model FOLDER] [--dtype bfloat16]

    a  each trial loads the base, wraps it with PEFT, trains with `Trainer` on inputs padded to the
       full length, and is scored by `generate` in batches of 8; float32
    b  the base is kept, in the precision that is faster here; batches of like lengths with little
       padding; `generate` in batches of 32
    c  this project's SequentialTrainer
    d  this project's engine for many adapters with the slots that it chooses here, or `--slots N`
    c16, d16  the same on a bfloat16 base, where they are asked for

All do the same: examples, steps, batch size, adapters, rates, scored examples, one thread. In each
repeat a, b and c take turns trial by trial, and d follows with all of them; ratios are of the
loops of one repeat, and their median is told. What is loaded once counts in full for each repeat.
Left out of all four: imports, Optuna's own milliseconds, and in the plain loops the tokenising.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Final, Protocol

import torch
from transformers.utils import logging

from benchmarks.fewer import fewer
from benchmarks.our_loop import OurLoop
from benchmarks.plain_loop import USUAL, Clock, Done, Manner, PlainLoop, Spent, Work, strongest
from benchmarks.trials_report import LOOPS, Round, machine, markdown, summary
from harness.config import sweep
from harness.config.settings import EngineSettings
from harness.models import base_model
from harness.tasks.task import load_task_for
from harness.training.packed.selection import choose_engine
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.training.trainer import Trainer
from harness.trial import TrialConfig

#: Variant, rank, targets, dropout: a quarter is DoRA, as in the sweep of `ner_medical`.
_CONFIGS: Final = (
    ("lora", 16, "all_linear", 0.05),
    ("dora", 8, "qv", 0.0),
    ("lora", 8, "attention", 0.0),
    ("lora", 32, "mlp", 0.05),
    ("dora", 16, "all_linear", 0.0),
    ("lora", 4, "q", 0.1),
    ("lora", 64, "qkv", 0.0),
    ("lora", 16, "qv", 0.05),
)
_BUILTIN: Final = "builtin:tiny"
_PROBE_STEPS: Final = 3


class _Loop(Protocol):
    """Whatever runs one trial."""

    def trial(self, config: TrialConfig) -> Done: ...


class Bench:
    """The loops that are asked for, and their work.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        """Reads the task; nothing is timed yet."""
        self._given = given
        self.clocks = {name: Clock() for name in given.loops}
        self.facts: dict[str, Any] = {}
        self._settings = sweep.load_sweep(
            "ner_medical",
            [
                f"model.name={given.model}",
                f"model.dtype={given.dtype}",
                f"training.steps={given.steps}",
                "training.epochs=null",
                "training.readings=0",
            ],
        )
        self._task = fewer(load_task_for(self._settings), "validation", given.examples)
        model, training = self._settings.model, self._settings.training
        folder = base_model.resolve_model(model).path
        self.work = Work.of(base_model.load(model, 1), folder, self._task, training)
        self.configs = [
            TrialConfig(variant, rank, 2.0 * rank, dropout, targets, 2e-3, seed)
            for seed, (variant, rank, targets, dropout) in enumerate(_CONFIGS[: given.trials])
        ]
        self._bases: dict[str, base_model.BaseModel] = {}

    def loop(self, name: str) -> _Loop:
        """One of the four, with all that it loads once."""
        clock = self.clocks[name]
        if name == "a":
            self._short(USUAL)
            return PlainLoop(self.work, USUAL, clock)
        if name == "b":
            manner = strongest(self._faster())
            self.facts["b"] = str(manner.dtype).removeprefix("torch.")
            return PlainLoop(self.work, manner, clock)
        with clock.part("load"):
            return OurLoop(self._trainer(name), clock)

    def _trainer(self, name: str) -> Trainer:
        """One of this project's engines."""
        model, training = self._settings.model, self._settings.training
        if name.endswith("16"):
            model = model.model_copy(update={"dtype": "bfloat16"})
        # Loops of one precision share a base, which each of them has to load.
        loaded = base_model.load(model, 1)
        base = self._bases.setdefault(model.dtype, loaded)
        if name.startswith("c"):
            return SequentialTrainer(base, self._task, training)
        slots = self._given.slots
        engine = EngineSettings(kind="packed" if slots else "auto", slots=slots)
        chosen = choose_engine(base, self._task, training, engine)
        self.facts[f"{name} slots"] = chosen.slots
        if chosen.measured:
            self.facts[f"{name} microseconds a token by slots"] = dict(chosen.measured)
        if chosen.kind == "sequential":
            return SequentialTrainer(base, self._task, training)
        return PackedTrainer(base, self._task, training, chosen.slots)

    def _faster(self) -> torch.dtype:
        """The precision in which the strongest plain loop is faster here; not counted."""
        found: dict[str, float] = {}
        for dtype in (torch.float32, torch.bfloat16):
            parts = self._short(strongest(dtype))
            steps = (self.work.training.steps or 1) / _PROBE_STEPS
            found[str(dtype).removeprefix("torch.")] = round(
                steps * parts["train"].cpu + parts["score"].cpu, 2
            )
        self.facts["b tried, seconds"] = found
        return torch.float32 if found["float32"] <= found["bfloat16"] else torch.bfloat16

    def _short(self, manner: Manner) -> dict[str, Spent]:
        """What a short trial takes, after a first one that has lazy imports and caches to fill."""
        few = self.work.training.model_copy(update={"steps": _PROBE_STEPS})
        clock = Clock()
        loop = PlainLoop(replace(self.work, training=few), manner, clock)
        for _ in range(2):
            clock.spent = {}
            loop.trial(self.configs[0])
        return clock.spent


def measured(bench: Bench, given: argparse.Namespace) -> list[dict[str, Round]]:
    """All repeats: what each loop took and came to, its loading once in each."""
    loops = {name: bench.loop(name) for name in given.loops}
    once = {name: clock.spent.pop("load", Spent()) for name, clock in bench.clocks.items()}
    rounds = []
    for repeat in range(given.repeats):
        done: dict[str, list[Done]] = {name: [] for name in loops}
        for config in bench.configs:
            for name, loop in loops.items():
                if not name.startswith("d"):
                    done[name].append(loop.trial(config))
        for name, loop in loops.items():
            if name.startswith("d") and isinstance(loop, OurLoop):
                done[name] = loop.trials(bench.configs)
        rounds.append({name: _round(bench.clocks[name], once[name], done[name]) for name in loops})
        print(f"repeat {repeat + 1} of {given.repeats}", flush=True)
        for name, each in rounds[-1].items():
            print(f"  {name}: {each.line()}", flush=True)
    return rounds


def _round(clock: Clock, once: Spent, done: Sequence[Done]) -> Round:
    spent, clock.spent = clock.spent, {}
    parts = {name: spent.get(name, Spent()) for name in ("load", "train", "score")}
    parts["load"] = parts["load"].plus(once)
    value = [one.scores.values for one in done]
    return Round(
        trials=len(done),
        parts=parts,
        loss=mean(one.loss for one in done),
        score=mean(next(iter(each.values())) for each in value),
        written=mean(len(text) for one in done for text in one.scores.predictions),
    )


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; what depends on the model is filled in."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loops", type=lambda text: text.split(","), default=list("abcd"))
    parser.add_argument("--trials", type=int, default=8, choices=range(1, len(_CONFIGS) + 1))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default=_BUILTIN, help="a folder; otherwise the embedded base")
    parser.add_argument("--dtype", default="float32", help="of the base in c and d")
    parser.add_argument("--slots", type=int, help="of d; otherwise those that it chooses")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    given = parser.parse_args(words)
    unknown = set(given.loops) - set(LOOPS)
    if unknown:
        parser.error(f"--loops: {', '.join(sorted(unknown))}: known: {', '.join(LOOPS)}")
    embedded = given.model == _BUILTIN
    given.steps = given.steps or (60 if embedded else 20)
    given.examples = given.examples or (48 if embedded else 16)
    return given


def main() -> None:
    """Measures, prints, and writes what was asked for."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = arguments()
    torch.set_num_threads(1)
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    bench = Bench(given)
    rounds = measured(bench, given)
    found = {
        "machine": machine(),
        "asked": {**vars(given), "out": None, "model": Path(given.model).name},
        "facts": bench.facts,
        "rounds": [{name: each.plain() for name, each in one.items()} for one in rounds],
        "summary": summary(rounds),
    }
    print(markdown(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
