"""Trains several adapters at once on one frozen base; what cannot be packed is trained alone.

Each trial lives its own life: its slot is given to the next one as soon as it ends, is pruned or
fails, and its neighbours go on. Adapters are made, proven, scored and saved as the sequential
engine does it. Knows nothing of Optuna or storage.
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
from harness.tasks.task import AnswerMode, Task
from harness.training import evaluation
from harness.training.loop import TrainingRun
from harness.training.packed import compatibility
from harness.training.packed.pack import AdapterPack, MicroBatcher
from harness.training.packed.slot import DetachedAdapter, SlotTrainingRun
from harness.training.sequential import (
    RunningTrial,
    ScoreRequest,
    SequentialTrainer,
    Stop,
    TrialRun,
)
from harness.training.tokenization import TokenizedTask
from harness.training.trainer import Race, Report
from harness.trial import SplitScores, TrialRequest, TrialResult

#: Seconds between looks for a new trial while others are in progress and none was to be had.
_POLL: Final = 1.0


@dataclass
class _Slot:
    """A place in the pack and who has it."""

    life: TrialRun
    trial: RunningTrial | None = None
    adapter: Adapter | None = None
    run: SlotTrainingRun | None = None
    parked: DetachedAdapter | None = None
    wrapped: dict[str, LoraLayer] = field(default_factory=dict)
    wanted: ScoreRequest | None = None


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
        self._why_not = refusal(base, task)
        enters = self._why_not is None and compatibility.supports_prefix_cache(base)
        self._pack = AdapterPack(base, compatibility.layers(base.model), enters)
        self._passes = MicroBatcher(self._pack, training)
        self._taken: dict[int, _Slot] = {}
        self._places: dict[int, int] = {}  # adapter -> slot
        self._entering: int | None = None

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
        waited = 0.0
        more = True
        try:
            while more or self._taken:
                free = more and len(self._taken) < self.slots
                if free and not (self._taken and time.monotonic() < waited):
                    try:
                        request = next(trials)
                    except StopIteration:
                        more = False
                        continue
                    if request is None:
                        waited = time.monotonic() + _POLL
                    else:
                        yield from self._begin(request, report, race)
                    continue
                if self._taken:
                    yield from self._step()
        finally:
            for place in list(self._taken):
                self._taken[place].life.close()
                self._leave(place)

    def _begin(
        self, request: TrialRequest, report: Report, race: Race | None
    ) -> Iterator[TrialResult]:
        """Gives a trial a slot; one that cannot be packed is trained now, by itself."""
        if self._alone(request):
            yield from super().train(iter([request]), report, race)
            return
        place = next(place for place in range(self.slots) if place not in self._taken)
        self._taken[place] = _Slot(self._life(request, report, race))
        self._entering = place
        try:
            yield from self._on(place)
        finally:
            self._entering = None

    def _alone(self, request: TrialRequest) -> bool:
        if self._why_not is not None:
            return True
        try:
            variant = resolve_variant(request.config.variant, self._variants)
        except UserError:
            return True  # told there
        return compatibility.why_not_packable(request.config, variant) is not None

    def _step(self) -> Iterator[TrialResult]:
        """One optimiser step of every slot."""
        runs = {place: slot.run for place, slot in self._taken.items() if slot.run is not None}
        lost = self._passes.step(runs)
        for place in runs:
            yield from self._on(place, lost.get(place))
        yield from self._answer()

    def _on(
        self, place: int, told: SplitScores | Exception | None = None
    ) -> Iterator[TrialResult]:
        """Goes on with a life, with what it is told; one that is over frees its slot."""
        slot = self._taken[place]
        try:
            if isinstance(told, Exception):
                slot.wanted = slot.life.throw(told)
            else:
                slot.wanted = slot.life.send(told)
        except StopIteration as end:
            self._leave(place)
            yield end.value

    def _answer(self) -> Iterator[TrialResult]:
        """Scores whoever wants it, those that want the same together, until nobody does.

        One that nobody is with goes the same way, unless it can be merged: PEFT's own layers cost
        more at each token.
        """
        while True:
            wanting = {at: slot.wanted for at, slot in self._taken.items() if slot.wanted}
            if not wanting:
                return
            first = next(iter(wanting.values()))
            places = [place for place, wanted in wanting.items() if wanted == first]
            merges = len(places) == 1 and merging.can_merge(
                self._taken[places[0]].wrapped.values()
            )
            found = {} if merges else self._together(places, first)
            for place in places:
                yield from self._on(place, found.get(place) or self._by_itself(place, first))

    def _together(self, places: Sequence[int], wanted: ScoreRequest) -> dict[int, SplitScores]:
        """The scores of several; nothing where that fails, since each is scored alone then."""
        slots = {place: self._taken[place] for place in places}
        start = time.perf_counter()
        try:
            with self._pack.inference({at: slot.wrapped for at, slot in slots.items()}) as around:
                scores = evaluation.score_together(
                    self._base,
                    self._task,
                    wanted.split,
                    wanted.examples,
                    self._training.score_batch_size,
                    self._tokens,
                    places,
                    around,
                )
        except Exception:
            return {}
        finally:
            for slot in slots.values():
                assert slot.trial is not None
                slot.trial.score_seconds += (time.perf_counter() - start) / len(slots)
        return dict(zip(places, scores, strict=True))

    def _by_itself(self, place: int, wanted: ScoreRequest) -> SplitScores | Exception:
        slot = self._taken[place]
        assert slot.trial is not None
        assert slot.adapter is not None
        try:
            return self._score(slot.trial, slot.adapter, wanted)
        except Exception as error:
            return error

    def _scored(
        self,
        trial: RunningTrial,
        adapter: Adapter,
        split: str,
        examples: int | slice | None = None,
    ) -> Generator[Stop, SplitScores | None, SplitScores]:
        if id(adapter) not in self._places:
            return (yield from super()._scored(trial, adapter, split, examples))
        scores = yield ScoreRequest(split, examples)
        assert scores is not None
        return scores

    def _leave(self, place: int) -> None:
        self._pack.remove(place)
        self._taken.pop(place, None)

    @contextmanager
    def _attached(self, trial: RunningTrial) -> Iterator[Adapter]:
        place = self._entering
        bare = [(weight, weight.data) for weight in self._base.model.parameters()]
        with super()._attached(trial) as adapter:
            if place is None:
                yield adapter
                return
            slot = self._taken[place]
            parked = slot.parked = DetachedAdapter(adapter, bare)
            slot.trial, slot.adapter = trial, adapter
            self._places[id(adapter)] = place
            try:
                yield adapter
            finally:
                del self._places[id(adapter)]
                parked.enter()  # for PEFT takes off what is on

    def _present(self, adapter: Adapter) -> AbstractContextManager[None]:
        place = self._places.get(id(adapter))
        parked = None if place is None else self._taken[place].parked
        return super()._present(adapter) if parked is None else parked.present()

    def _run(self, trial: RunningTrial, adapter: Adapter) -> TrainingRun:
        place = self._places.get(id(adapter))
        if place is None:
            return super()._run(trial, adapter)
        slot, steps, training = self._taken[place], adapter.context.steps, self._training
        with self._present(adapter):
            run = SlotTrainingRun(
                self._base, self._loss, self._sequences, adapter, training, steps, trial.progress
            )
            run.dtype = self._pack.dtype
            slot.wrapped = {
                name: layer
                for name, layer in adapter.layers().items()
                if isinstance(layer, LoraLayer)
            }
        self._pack.add(place, adapter, run.weights, run.generator, slot.wrapped)
        slot.run = run
        return run


def refusal(base: BaseModel, task: Task) -> str | None:
    """Why nothing can be packed on this base, for this task; None where it can."""
    if task.type.answers is AnswerMode.TAGGED:
        return "a head that tags tokens belongs to one adapter"
    return compatibility.why_base_not_packable(base)
