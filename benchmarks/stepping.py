"""Training steps that can be called one by one, with either engine, on the same rows each time."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final, Protocol

from harness.adapters import attach
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.loop import TrainingProgress, TrainingRun
from harness.training.losses import loss_for
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import make_tokens
from harness.training.tokenization import TokenizedTask
from harness.trial import TrialConfig, TrialRequest

#: More steps than anybody measures; a schedule has to know how many there are.
_STEPS: Final = 100_000


class Steps(Protocol):
    """A training that goes on for as long as it is asked to."""

    def step(self) -> None:
        """One optimiser step of every adapter."""
        ...

    def close(self) -> None:
        """Takes the adapters off the base."""
        ...


class SequentialSteps:
    """Steps of one adapter through the sequential engine.

    Args:
        base: no adapter attached.
        task: its training examples are one batch, or batches of like lengths.
        training: batch size and bounds.
        config: of the adapter.
        tokens: of the task's examples, if they were made before.
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        training: TrainingSettings,
        config: TrialConfig,
        tokens: TokenizedTask | None = None,
    ) -> None:
        """Attaches the adapter."""
        self._stack = ExitStack()
        sequences = (tokens or make_tokens(base, task, training)).training().sequences
        loss = loss_for(base.model, task)
        adapter = self._stack.enter_context(attach.attached_adapter(base, config))
        run = TrainingRun(base, loss, sequences, adapter, training, _STEPS, TrainingProgress())
        self._run = iter(run)

    def step(self) -> None:
        """One optimiser step."""
        next(self._run)

    def close(self) -> None:
        """Takes the adapter off."""
        self._stack.close()


class PackedSteps:
    """Steps of several adapters at once.

    Args:
        base: no adapter attached.
        task: see `SequentialSteps`.
        training: batch size and bounds.
        configs: one for each slot.
    """

    def __init__(
        self, base: BaseModel, task: Task, training: TrainingSettings, configs: list[TrialConfig]
    ) -> None:
        """Gives every slot its adapter; nothing is trained yet."""
        long = training.model_copy(update={"steps": _STEPS, "epochs": None, "readings": 0})
        self._trainer = _Halting(base, task, long, len(configs))
        requests = (TrialRequest(n, config, splits=()) for n, config in enumerate(configs))
        self._life = self._trainer.train(iter([*requests]), lambda *_: True)
        self._trainer.halts = True
        self._go_on()

    def step(self) -> None:
        """One optimiser step of all."""
        self._go_on()

    def close(self) -> None:
        """Takes the adapters off."""
        self._trainer.halts = False
        self._life.close()  # type: ignore[attr-defined]

    def _go_on(self) -> None:
        found = next(self._life)
        if found is not None:
            raise SystemExit(f"a trial ended before its time: {found.error}")


class _Halting(PackedTrainer):
    """The packed engine, which halts before every step."""

    halts = False

    def _step(self) -> Iterator[Any]:
        if self.halts:
            yield None
        yield from super()._step()
