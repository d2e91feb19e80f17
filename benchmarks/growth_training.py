"""Time and memory of training by the number of adapters together, and of training examples."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from benchmarks.growth_fit import Curve
from benchmarks.stepping import SequentialSteps
from harness.config.settings import TrainingSettings
from harness.config.sweep import Sweep
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.models.memory import PeakMemory
from harness.study import checks
from harness.tasks.task import Task, load_task, load_task_for
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer, make_tokens
from harness.trial import Outcome, TrialConfig, TrialRequest

T = TypeVar("T")
_CONFIG: Final = TrialConfig("lora", 16, 32.0, 0.0, "qv", 1e-3, 0)
_DRUGS: Final = ("Xarel", "Lasix", "Advil", "Zocor", "Bumex", "Norvask", "Plavix")
#: Most memory that a process may take, in GiB.
_MOST: Final = 3.0


def slot_curves() -> dict[str, Curve]:
    """What is measured for numbers of slots, nothing yet."""
    by = "slots"
    return {
        "seconds": Curve("all adapters of a pack, set-up and steps", "s of the processor", by),
        "trial": Curve("a trial in a pack", "s of the processor", by),
        "memory": Curve("most memory of the process", "GiB", by, _MOST),
        "memory_trial": Curve("memory that each trial adds", "MiB", by),
    }


class Slots:
    """Packs of different sizes on one base.

    Args:
        settings: of the sweep, for the model.
        steps: of each trial.
    """

    def __init__(self, settings: Sweep, steps: int) -> None:
        """Loads the base and the task."""
        self._base = base_model.load(settings.model, 1)
        training = settings.training.model_copy(
            update={"steps": steps, "epochs": None, "readings": 0}
        )
        task = load_task_for(settings)
        self._trainer = PackedTrainer(self._base, task, training)
        self._train(1)  # what is done once only is not to be timed

    def measure(self, found: dict[str, Curve], slots: int, memory: bool) -> None:
        """Trains as many trials together.

        Args:
            found: from `slot_curves`.
            slots: how many.
            memory: whether to tell it, too: what larger packs have left behind would count.
        """
        before, peak = PeakMemory(self._base.device).bytes(), PeakMemory(self._base.device)
        start = time.process_time()
        self._train(slots)
        seconds = time.process_time() - start
        found["seconds"].add(slots, seconds)
        found["trial"].add(slots, seconds / slots)
        if memory:
            found["memory"].add(slots, peak.bytes() / 2**30)
            found["memory_trial"].add(slots, max(0, peak.bytes() - before) / 2**20 / slots)

    def _train(self, slots: int) -> None:
        self._trainer.slots = slots
        requests = (TrialRequest(n, _CONFIG.replace(seed=n), splits=()) for n in range(slots))
        for result in self._trainer.train(iter([*requests]), lambda *_: True):
            if result.outcome is not Outcome.COMPLETE:
                raise SystemExit(f"a trial ended before its time: {result.error}")


def example_curves() -> dict[str, Curve]:
    """What is measured for numbers of training examples, nothing yet."""
    by = "training examples"
    return {
        "load": Curve("reading the task", "s of the processor", by),
        "leaks": Curve("looking for leaks between splits", "s of the processor", by),
        "tokens": Curve("making its tokens", "s of the processor", by),
        "trainer": Curve("making the engine", "s of the processor", by),
        "first": Curve("a trial's first step, with the data's order", "s of the processor", by),
        "step": Curve("a step", "s of the processor", by),
        "memory": Curve("most memory of the process", "GiB", by, _MOST),
    }


def measure_examples(
    found: dict[str, Curve], base: BaseModel, training: TrainingSettings, count: int, steps: int
) -> None:
    """One task of so many training examples, from its files to its steps.

    Args:
        found: from `example_curves`.
        base: no adapter attached.
        training: batch size and bounds.
        count: training examples.
        steps: to take the mean of.
    """
    peak = PeakMemory(base.device)
    with TemporaryDirectory() as folder:
        write_task(Path(folder), count)
        task = _timed(found["load"], count, lambda: _loaded(Path(folder)))
    _timed(found["leaks"], count, lambda: checks.count_leaks(task))
    tokens = make_tokens(base, task, training)
    _timed(found["tokens"], count, tokens.training)
    _timed(found["trainer"], count, lambda: SequentialTrainer(base, task, training, tokens=tokens))
    with closing(SequentialSteps(base, task, training, _CONFIG, tokens)) as run:
        _timed(found["first"], count, run.step)
        start = time.process_time()
        for _ in range(steps):
            run.step()
        found["step"].add(count, (time.process_time() - start) / steps)
    found["memory"].add(count, peak.bytes() / 2**30)


def _loaded(folder: Path) -> Task:
    task = load_task(f"{folder}/")
    for split in ("train", "validation", "test"):
        task.examples(split)
    return task


def _timed(curve: Curve, size: int, work: Callable[[], T]) -> T:
    start = time.process_time()
    answer = work()
    curve.add(size, time.process_time() - start)
    return answer


def write_task(folder: Path, count: int) -> None:
    """A task of made-up rows: so many for training, a tenth (at most 200) in each other split.

    Args:
        folder: that is there.
        count: rows of the training split.
    """
    others = max(5, min(200, count // 10))
    for split, rows in (("train", count), ("validation", others), ("test", others)):
        lines = (json.dumps(_row(split, number)) for number in range(rows))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "task.yaml").write_text(
        "name: made\nsummary: made-up rows\nlabels: [MED, DOSE]\ndata: {folder: .}\n"
        'prompt: "N: {text}\\nE:"\nmax_new_tokens: 24\nmetrics: [entity_f1]\n'
        "objective: {metric: entity_f1, direction: maximize, margin: 0.02}\n",
        encoding="utf-8",
    )


def _row(split: str, number: int) -> dict[str, object]:
    """A note with a drug and a dose; none is in two splits, nor twice in one."""
    drug, dose = _DRUGS[number % len(_DRUGS)], f"{number + 1} mg"
    text = f"Note {number} of {split}: the patient takes {drug} {dose} each morning."
    marks = [("MED", drug), ("DOSE", f"{drug} {dose}")]
    entities = []
    for label, surface in marks:
        end = text.index(surface) + len(surface)
        start = end - (len(dose) if label == "DOSE" else len(drug))
        entities.append({"start": start, "end": end, "label": label})
    return {"id": f"{split}-{number}", "text": text, "entities": entities}
