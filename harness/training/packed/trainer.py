"""The packed engine: trains several adapters at once on one frozen base.

Each trial has a slot of the pack. A slot goes to the next trial as soon as its own ends, is pruned
or fails, and the others continue. Adapters are attached, proven, scored and saved as the
sequential engine does it; a trial that cannot be packed is trained by that engine's code, alone.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from peft.tuners.lora.layer import LoraLayer

from harness.adapters import adapter as merging
from harness.adapters.adapter import Adapter
from harness.config.settings import TrainingSettings
from harness.config.variants import VARIANTS, Variant, resolve_variant
from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.registry import Registry
from harness.tasks.task import Task
from harness.training import evaluation
from harness.training.loop import TrainingRun
from harness.training.packed import compatibility
from harness.training.packed.pack import AdapterPack, MicroBatcher
from harness.training.packed.slot import DetachedAdapter, SlotTrainingRun
from harness.training.sequential import (
    Pause,
    RunningTrial,
    ScoreRequest,
    Selection,
    SequentialTrainer,
    TrialRun,
)
from harness.training.tokenization import TokenizedTask
from harness.training.trainer import Race, Report
from harness.trial import SplitScores, TrialRequest, TrialResult

#: Seconds until a free slot asks for a trial again, where there was none and others are running.
_POLL_SECONDS: Final = 1.0


@dataclass
class _Slot:
    """A slot that is taken by a trial.

    Attributes:
        trial_run: the trial, paused.
        trial: what is known of it, once its adapter is attached; so are the fields below.
        adapter: its adapter.
        run: its training.
        detached: the adapter beside the base.
        wrapped: PEFT's layers of the adapter by name.
        request: the scores that the trial waits for.
    """

    trial_run: TrialRun
    trial: RunningTrial | None = None
    adapter: Adapter | None = None
    run: SlotTrainingRun | None = None
    detached: DetachedAdapter | None = None
    wrapped: dict[str, LoraLayer] = field(default_factory=dict)
    request: ScoreRequest | None = None


class PackedTrainer(SequentialTrainer):
    """The engine of many adapters at once.

    Args:
        base: no adapter attached; stays as it is.
        task: what is trained and scored.
        training: how.
        slots: adapters together at most.
        variants: where variants are looked up.
        tokens: of the task's examples, if they were made before.

    Attributes:
        slots: see above; may be changed between two calls of `train`.
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        training: TrainingSettings,
        slots: int = 1,
        variants: Registry[Variant] = VARIANTS,
        tokens: TokenizedTask | None = None,
    ) -> None:
        super().__init__(base, task, training, variants, tokens)
        self.slots = slots
        self._why_not = compatibility.why_not_packable(base, task)
        prefix_cache = self._why_not is None and compatibility.supports_prefix_cache(base)
        layers = compatibility.packable_layers(base.model)
        self._pack = AdapterPack(base, layers, prefix_cache)
        self._micro_batcher = MicroBatcher(self._pack, training)
        self._slots: dict[int, _Slot] = {}
        self._slot_of: dict[int, int] = {}  # by the adapter's id
        self._starting: int | None = None  # the slot whose adapter is being attached

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: of the training tokens, and of what is not packed."""
        why = self._why_not
        return super().notes + ((f"each adapter is trained by itself: {why}",) if why else ())

    def train(
        self, trials: Iterator[TrialRequest | None], report: Report, race: Race | None = None
    ) -> Iterator[TrialResult]:
        """Trains as many trials at once as there are slots; see `Trainer.train`.

        Raises:
            RuntimeError: a trial changed the frozen base; no result can be trusted any more.
        """
        next_poll = 0.0
        more = True
        try:
            while more or self._slots:
                is_free = more and len(self._slots) < self.slots
                if is_free and not (self._slots and time.monotonic() < next_poll):
                    try:
                        request = next(trials)
                    except StopIteration:
                        more = False
                        continue
                    if request is None:
                        next_poll = time.monotonic() + _POLL_SECONDS
                    else:
                        yield from self._start(request, report, race)
                    continue
                if self._slots:
                    yield from self._step()
        finally:
            for number in list(self._slots):
                self._slots[number].trial_run.close()
                self._free(number)

    def _start(
        self, request: TrialRequest, report: Report, race: Race | None
    ) -> Iterator[TrialResult]:
        """Gives a trial a slot; one that cannot be packed is trained now, by itself."""
        if not self._is_packable(request):
            yield from super().train(iter([request]), report, race)
            return
        number = next(number for number in range(self.slots) if number not in self._slots)
        self._slots[number] = _Slot(self._run_trial(request, report, race))
        self._starting = number
        try:
            yield from self._resume(number)
        finally:
            self._starting = None

    def _is_packable(self, request: TrialRequest) -> bool:
        if self._why_not is not None:
            return False
        try:
            variant = resolve_variant(request.config.variant, self._variants)
        except UserError:
            return False  # the sequential engine makes a failed result of it
        return compatibility.why_config_not_packable(request.config, variant) is None

    def _step(self) -> Iterator[TrialResult]:
        """One optimizer step of every slot."""
        runs = {number: slot.run for number, slot in self._slots.items() if slot.run is not None}
        errors = self._micro_batcher.step(runs)
        for number in runs:
            yield from self._resume(number, errors.get(number))
        yield from self._answer_requests()

    def _resume(
        self, number: int, answer: SplitScores | Exception | None = None
    ) -> Iterator[TrialResult]:
        """Resumes a trial, with the scores that it asked for or an error; frees an ended one."""
        slot = self._slots[number]
        try:
            if isinstance(answer, Exception):
                slot.request = slot.trial_run.throw(answer)
            else:
                slot.request = slot.trial_run.send(answer)
        except StopIteration as end:
            self._free(number)
            yield end.value

    def _answer_requests(self) -> Iterator[TrialResult]:
        """Scores all slots that wait for scores, those with equal requests together.

        A single one is scored by the pack, too, unless its adapter can be merged into the base:
        PEFT's own layers cost more at each token.
        """
        while True:
            waiting = {n: slot.request for n, slot in self._slots.items() if slot.request}
            if not waiting:
                return
            request = next(iter(waiting.values()))
            numbers = [n for n, other_request in waiting.items() if other_request == request]
            layers = self._slots[numbers[0]].wrapped.values()
            mergeable = len(numbers) == 1 and merging.can_merge(layers)
            scores = {} if mergeable else self._score_together(numbers, request)
            for number in numbers:
                answer = scores.get(number) or self._score_slot(number, request)
                yield from self._resume(number, answer)

    def _score_together(
        self, numbers: Sequence[int], request: ScoreRequest
    ) -> dict[int, SplitScores]:
        """The scores of several slots; empty where that fails: each is scored alone then."""
        slots = {number: self._slots[number] for number in numbers}
        wrapped = {number: slot.wrapped for number, slot in slots.items()}
        start = time.perf_counter()
        try:
            with self._pack.inference(wrapped) as forward_context:
                rows, (split, examples) = self._training.score_batch_size, request
                arguments = (self._base, self._task, split, examples, rows, self._tokens)
                scores = evaluation.score_together(*arguments, numbers, forward_context)
        except Exception:
            return {}
        finally:
            for slot in slots.values():
                assert slot.trial is not None
                slot.trial.score_seconds += (time.perf_counter() - start) / len(slots)
        return dict(zip(numbers, scores, strict=True))

    def _score_slot(self, number: int, request: ScoreRequest) -> SplitScores | Exception:
        slot = self._slots[number]
        assert slot.trial is not None
        assert slot.adapter is not None
        try:
            return self._score_alone(slot.trial, slot.adapter, request)
        except Exception as error:
            return error

    def _score_split(
        self, trial: RunningTrial, adapter: Adapter, split: str, examples: Selection = None
    ) -> Generator[Pause, SplitScores | None, SplitScores]:
        if id(adapter) not in self._slot_of:
            return (yield from super()._score_split(trial, adapter, split, examples))
        scores = yield ScoreRequest(split, examples)
        assert scores is not None
        return scores

    def _free(self, number: int) -> None:
        self._pack.remove(number)
        self._slots.pop(number, None)

    @contextmanager
    def _attach(self, trial: RunningTrial) -> Iterator[Adapter]:
        number = self._starting
        frozen = [(weight, weight.data) for weight in self._base.model.parameters()]
        with super()._attach(trial) as adapter:
            if number is None:
                yield adapter
                return
            slot = self._slots[number]
            detached = slot.detached = DetachedAdapter(adapter, frozen)
            slot.trial, slot.adapter = trial, adapter
            self._slot_of[id(adapter)] = number
            try:
                yield adapter
            finally:
                del self._slot_of[id(adapter)]
                detached.enter()  # PEFT can remove only an adapter that is on the base

    def _on_base(self, adapter: Adapter) -> AbstractContextManager[None]:
        number = self._slot_of.get(id(adapter))
        detached = None if number is None else self._slots[number].detached
        return super()._on_base(adapter) if detached is None else detached.present()

    def _make_run(self, trial: RunningTrial, adapter: Adapter) -> TrainingRun:
        number = self._slot_of.get(id(adapter))
        if number is None:
            return super()._make_run(trial, adapter)
        slot, steps, training = self._slots[number], adapter.context.steps, self._training
        with self._on_base(adapter):
            run = SlotTrainingRun(
                self._base, self._loss, self._sequences, adapter, training, steps, trial.progress
            )
            run.dtype = self._pack.dtype
            layers = adapter.layers().items()
            slot.wrapped = {name: part for name, part in layers if isinstance(part, LoraLayer)}
        self._pack.add(number, adapter, run.weights, run.generator, slot.wrapped)
        slot.run = run
        return run
