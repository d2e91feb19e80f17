"""Trains one adapter at a time through PEFT: the plain engine. Knows nothing of Optuna or storage.

All trials of a process share one frozen base. An adapter is put on, trained, scored and taken off
again; after each trial the base is proven to be what it was.

One trial in progress, whichever engine it runs on: what is known of it, and how it can end.

Scoring a split part by part, so that whoever looks on may end it early.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

import torch

from harness.adapters import attach
from harness.adapters.adapter import Adapter, InitContext
from harness.adapters.proofs import PROOFS, Proof, ProofContext, ProofError
from harness.config.settings import TrainingSettings
from harness.config.variants import VARIANTS, Variant
from harness.errors import UserError
from harness.models import token_classifier
from harness.models.base_model import BaseModel, quick_checksum
from harness.models.memory import PeakMemory, is_out_of_memory, weight_bytes
from harness.registry import Registry
from harness.tasks.task import AnswerMode, Task
from harness.training import evaluation, loop
from harness.training.loop import DivergedError, TrainingProgress, TrainingRun
from harness.training.losses import keeps_sequences_apart, loss_for
from harness.training.tokenization import TokenizedTask, token_notes
from harness.training.trainer import Race, Report
from harness.trial import Cost, Measurement, Outcome, SplitScores, TrialRequest, TrialResult


class ScoreRequest(NamedTuple):
    """What a trial asks of its engine: to be scored as it is now.

    Attributes:
        split: which examples.
        examples: so many, evenly spaced over the split, or these ones; None for all.
    """

    split: str
    examples: int | slice | None


class PrunedError(Exception):
    """The trial was ended from outside; says where."""


@dataclass
class RunningTrial:
    """One trial in progress: what is known of it whatever way it ends."""

    request: TrialRequest
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    measurements: list[Measurement] = field(default_factory=list)
    score_seconds: float = 0.0
    parameters: int = 0
    inference_memory: int = 0
    best: float | None = None
    best_reading: int = 0
    best_weights: list[torch.Tensor] | None = None
    proofs: tuple[str, ...] = ()

    def note(self, value: float, parameters: list[torch.nn.Parameter]) -> None:
        """Keeps the weights if this reading (more is better) is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_reading = value, len(self.measurements)
            self.best_weights = [parameter.detach().clone() for parameter in parameters]


def rung_steps(steps: int, readings: int) -> tuple[int, ...]:
    """Steps after which readings are taken: they cut the training into `readings` + 1 parts."""
    rungs = {round(steps * rung / (readings + 1)) for rung in range(1, readings + 1)}
    return tuple(sorted(rungs - {0, steps}))


@torch.no_grad()
def restore(parameters: list[torch.nn.Parameter], weights: list[torch.Tensor]) -> None:
    """Puts weights back into parameters."""
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)


def error_message(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, DivergedError | UserError):
        return str(error)
    if isinstance(error, ProofError):
        return f"not what the variant's name says: {error}"
    if is_out_of_memory(error):
        return "out of memory; smaller training.micro_batch_size or score_batch_size need less"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


#: Parts at most; each look at them costs some of the error that may be spent.
_MOST: Final = 4


def split_parts(task: Task, split: str, batch: int) -> tuple[slice, ...]:
    """Parts of a split, each spread over all of its examples.

    Args:
        task: has the split.
        split: its name.
        batch: examples decoded together; a part is no smaller, or scoring would take longer.
    """
    many = max(1, min(_MOST, len(task.examples(split)) // batch))
    return tuple(slice(part, None, many) for part in range(many))


def score_in_parts(
    score: Callable[[slice | None], Generator[Any, Any, SplitScores]],
    task: Task,
    wanted: Sequence[slice | None],
    ask: Callable[[SplitScores], str | None] | None,
) -> Generator[Any, Any, SplitScores]:
    """Scores part after part.

    Args:
        score: scores one.
        task: computes the metrics' values of all.
        wanted: the parts.
        ask: told what there is after each part but the last; answers why to stop, or None.

    Raises:
        PrunedError: it said so.
    """
    found: list[SplitScores] = []
    for place, part in enumerate(wanted, 1):
        found.append((yield from score(part)))
        if ask is not None and place < len(wanted):
            why = ask(merge_scores(task, found))
            if why is not None:
                raise PrunedError(why)
    return merge_scores(task, found)


def merge_scores(task: Task, found: Sequence[SplitScores]) -> SplitScores:
    """Parts of a split as one, in the order of the task's examples.

    Args:
        task: computes the metrics' values.
        found: one or more parts, no example in two of them.
    """
    if len(found) == 1:
        return found[0]
    place = {example.id: at for at, example in enumerate(task.examples(found[0].split))}
    rows = [
        row
        for each in found
        for row in zip(each.ids, each.predictions, each.unparsed, each.statistics, strict=True)
    ]
    ids, predictions, unparsed, statistics = zip(
        *sorted(rows, key=lambda row: place[row[0]]), strict=True
    )
    values = task.values([*statistics], [*unparsed])
    return SplitScores(found[0].split, ids, predictions, unparsed, statistics, values)


#: Where a trial stops: with nothing, after its start and each step, or for scores that it wants.
Stop = ScoreRequest | None
#: One trial: goes on when asked to, and answers its result at the end.
TrialRun = Generator[Stop, SplitScores | None, TrialResult]


class SequentialTrainer:
    """The plain engine.

    Args:
        base: no adapter attached; stays as it is.
        task: what is trained and scored.
        training: how.
        variants: where variants are looked up.
        tokens: of the task's examples, if they were made before.
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        training: TrainingSettings,
        variants: Registry[Variant] = VARIANTS,
        tokens: TokenizedTask | None = None,
    ) -> None:
        """Makes the training tokens and notes the base's checksum.

        Raises:
            UserError: no training example fits into `max_length`.
        """
        self._base, self._task, self._training, self._variants = base, task, training, variants
        self._tokens = tokens or make_tokens(base, task, training)
        self._sequences = self._tokens.training().sequences
        self._loss = loss_for(base.model, task)
        self._checksum = quick_checksum(base.model)
        self._weights = _weights(base.model)
        self._probe = torch.tensor([self._sequences[0].ids], device=base.device)
        self._bare = token_classifier.probe_output(base.model, self._probe)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the training tokens: examples cut or left out."""
        return token_notes(self._task, self._tokens.training(), self._training)

    def train(
        self, trials: Iterator[TrialRequest | None], report: Report, race: Race | None = None
    ) -> Iterator[TrialResult]:
        """Trains one trial after the other; see `Trainer.train`.

        Raises:
            RuntimeError: a trial changed the frozen base; no result can be trusted any more.
        """
        for request in trials:
            if request is not None:
                with _random(self._base):
                    yield self._whole(self._life(request, report, race))

    def _whole(self, life: TrialRun) -> TrialResult:
        """A life from its beginning to its end."""
        while True:
            try:
                next(life)
            except StopIteration as end:
                result: TrialResult = end.value
                return result

    def _life(self, request: TrialRequest, report: Report, race: Race | None) -> TrialRun:
        """One trial: stops after its start and after each step, and wherever `_scored` does.

        Whatever goes wrong inside it ends as its result.
        """
        trial, peak = RunningTrial(request), PeakMemory(self._base.device)
        scores: dict[str, SplitScores] = {}
        outcome, error, folder = Outcome.COMPLETE, None, None
        try:
            with self._attached(trial) as adapter:
                yield from self._fit(trial, adapter, report)
                for split in request.splits:
                    score = partial(self._scored, trial, adapter, split)
                    ask = partial(race, request.number) if race and not scores else None
                    batch = self._training.score_batch_size
                    many = (
                        split_parts(self._task, split, batch)
                        if ask and request.readings
                        else (None,)
                    )
                    scores[split] = yield from score_in_parts(score, self._task, many, ask)
                if request.adapter_dir is not None:
                    with self._present(adapter):
                        folder = str(attach.save_adapter(adapter, request.adapter_dir))
        except PrunedError as reason:
            outcome, error = Outcome.PRUNED, str(reason)
        except Exception as reason:
            outcome, error, scores, folder = Outcome.FAILED, error_message(reason), {}, None
        if self._base.device.type == "cuda" and outcome is Outcome.FAILED:
            torch.cuda.empty_cache()
        if quick_checksum(self._base.model) != self._checksum:
            raise RuntimeError(f"trial {request.number} changed the frozen base model")
        return TrialResult(
            number=request.number,
            outcome=outcome,
            scores=scores,
            measurements=tuple(trial.measurements),
            cost=Cost(
                train_seconds=trial.progress.seconds,
                score_seconds=trial.score_seconds,
                tokens=trial.progress.tokens,
                parameters=trial.parameters,
                peak_memory=peak.bytes(),
                pack=trial.progress.pack,
                inference_memory=trial.inference_memory,
            ),
            adapter=folder,
            proofs=trial.proofs if outcome is Outcome.COMPLETE else (),
            error=error,
            changed=trial.progress.changed,
        )

    def _present(self, adapter: Adapter) -> AbstractContextManager[None]:
        """Has an adapter on the base meanwhile; here it always is."""
        del adapter
        return nullcontext()

    def _run(self, trial: RunningTrial, adapter: Adapter) -> TrainingRun:
        """What steps a trial."""
        steps, sequences = adapter.context.steps, self._sequences
        return TrainingRun(
            self._base, self._loss, sequences, adapter, self._training, steps, trial.progress
        )

    @contextmanager
    def _attached(self, trial: RunningTrial) -> Iterator[Adapter]:
        config = trial.request.config
        steps = loop.step_count(self._training, len(self._sequences), config.budget)
        pad = int(self._base.tokenizer.pad_token_id)
        given = InitContext(steps, self._sequences, pad)
        with attach.attached_adapter(self._base, config, self._variants, given) as adapter:
            trained = (p for p in self._base.model.parameters() if p.requires_grad)
            trial.parameters = sum(weight.numel() for weight in trained)
            trial.inference_memory = weight_bytes(self._base.model)
            yield adapter

    def _fit(
        self, trial: RunningTrial, adapter: Adapter, report: Report
    ) -> Generator[Stop, SplitScores | None, None]:
        """Trains to the end, to the last useful reading, or until `report` says stop.

        Raises:
            ProofError: the variant does not do what its name says.
        """
        training, steps = self._training, adapter.context.steps
        run = self._run(trial, adapter)
        with self._present(adapter), torch.no_grad():
            proofs = self._proofs(adapter, run)
            for proof in proofs.values():
                proof.check_before()
        rungs = rung_steps(steps, training.readings)
        yield None
        for step in run:
            if step in rungs or step == steps:
                yield from self._read(trial, adapter, run, step == steps, report)
                if self._is_stale(trial):
                    break
            if step < steps:
                yield None
        run.release()
        with self._present(adapter), torch.no_grad():
            attach.set_dropout(self._base.model, on=False)
            if trial.progress.step == steps:  # what a variant ends as is not there before
                for proof in proofs.values():
                    proof.check_after()
                trial.proofs = tuple(proofs)
            if training.restore_best and trial.best_weights is not None:
                restore(run.parameters, trial.best_weights)

    def _proofs(self, adapter: Adapter, run: TrainingRun) -> dict[str, Proof]:
        subject = ProofContext(adapter, run.groups, self._probe, self._bare, self._weights)
        names = adapter.variant.proofs
        if getattr(self._base.model.config, "quantization_config", None) is not None:
            names = (*names, "quantised")
        if token_classifier.find_head(self._base.model) is not None:
            names = (*names, "head_trained")
        return {name: PROOFS.get(name)(subject) for name in names}

    def _read(
        self, trial: RunningTrial, adapter: Adapter, run: TrainingRun, last: bool, report: Report
    ) -> Generator[Stop, SplitScores | None, None]:
        """One reading: the loss so far and, where somebody asks for it, the objective.

        The last weights are read only where they compete with earlier ones.
        """
        progress, training = trial.progress, self._training
        value = None
        keeps_best = training.restore_best or (training.early_stopping is not None and not last)
        if keeps_best or (trial.request.readings and not last):
            with self._present(adapter):
                attach.set_dropout(self._base.model, on=False)
            split = trial.request.splits[0] if trial.request.splits else "validation"
            scores = yield from self._scored(trial, adapter, split, training.reading_examples)
            value = evaluation.objective_value(self._task, scores)
            with self._present(adapter):
                attach.set_dropout(self._base.model, on=True)
        batches = -(-len(self._sequences) // training.batch_size)
        measurement = Measurement(
            step=progress.step,
            epoch=progress.step / batches,
            loss=progress.take_loss(),
            value=value,
            seconds=progress.seconds,
            tokens=progress.tokens,
        )
        trial.measurements.append(measurement)
        if value is not None and keeps_best:
            trial.note(value * self._task.objective.sign, run.parameters)
        if trial.request.readings and not last and not report(trial.request.number, measurement):
            objective = self._task.objective.name
            raise PrunedError(f"pruned at step {progress.step}: {objective} {value:.4g}")

    def _is_stale(self, trial: RunningTrial) -> bool:
        patience = self._training.early_stopping
        return patience is not None and len(trial.measurements) - trial.best_reading >= patience

    def _scored(
        self,
        trial: RunningTrial,
        adapter: Adapter,
        split: str,
        examples: int | slice | None = None,
    ) -> Generator[Stop, SplitScores | None, SplitScores]:
        """Scores an adapter as it is now; here without a stop."""
        yield from ()
        return self._score(trial, adapter, ScoreRequest(split, examples))

    def _score(self, trial: RunningTrial, adapter: Adapter, wanted: ScoreRequest) -> SplitScores:
        """Scores an adapter by itself."""
        start = time.perf_counter()
        try:
            with self._present(adapter):
                return evaluation.score(
                    self._base,
                    self._task,
                    wanted.split,
                    wanted.examples,
                    batch_size=self._training.score_batch_size,
                    tokens=self._tokens,
                )
        finally:
            trial.score_seconds += time.perf_counter() - start


def make_tokens(base: BaseModel, task: Task, training: TrainingSettings) -> TokenizedTask:
    """A task's examples as tokens of this base, for any engine.

    Texts share rows where that is wanted, of a task of texts alone, if they are kept apart here.
    """
    texts = task.type.answers is AnswerMode.LIKELIHOOD
    packing = training.packing and texts and keeps_sequences_apart(base.model)
    return TokenizedTask(base, task, training.max_length, packing)


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the base's layers by the layer's name; views, no copies."""
    return {
        name.removesuffix(".weight"): weight.data
        for name, weight in model.named_parameters()
        if name.endswith(".weight")
    }


@contextmanager
def _random(base: BaseModel) -> Iterator[None]:
    """Leaves the global random state as it was found."""
    with torch.random.fork_rng(devices=[base.device] if base.device.type == "cuda" else []):
        yield
