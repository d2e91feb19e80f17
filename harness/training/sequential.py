"""The sequential engine: trains one adapter at a time through PEFT.

All trials of a process share one frozen base. A trial attaches its adapter, trains it (the loop
itself is `harness.training.loop`), takes readings on the way, scores it, saves it and detaches it
again; after each trial a checksum proves that the base is unchanged.

A trial is a generator, so that the packed engine can run several in turns: it pauses after each
optimizer step, and wherever it needs scores. Here it is simply run to its end.
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

#: Examples of a split: so many, evenly spaced over it, or a slice of it; None for all.
Selection = int | slice | None


class ScoreRequest(NamedTuple):
    """A trial's request to its engine: score the adapter with its present weights."""

    split: str
    examples: Selection


class PrunedError(Exception):
    """The pruner or a race ended the trial; the message says at which step."""


@dataclass
class RunningTrial:
    """One trial in progress: what its result needs, however it ends.

    Attributes:
        request: the configuration, and what to do with it.
        progress: updated by the training loop.
        measurements: readings so far.
        score_seconds: wall seconds of scoring.
        parameters: trained parameters.
        inference_memory: bytes of the base with the adapter.
        best: highest objective of a reading so far; more is better whatever the metric.
        best_reading: its number, from 1.
        best_weights: the trained parameters at that reading.
        proofs: names of the proofs that held.
    """

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

    def keep_best(self, value: float, parameters: list[torch.nn.Parameter]) -> None:
        """Copies the weights if the last reading's value (more is better) is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_reading = value, len(self.measurements)
            self.best_weights = [parameter.detach().clone() for parameter in parameters]


def rung_steps(steps: int, readings: int) -> tuple[int, ...]:
    """Steps after which readings are taken; they cut the training into `readings` + 1 parts."""
    rungs = {round(steps * rung / (readings + 1)) for rung in range(1, readings + 1)}
    return tuple(sorted(rungs - {0, steps}))


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
_MAX_PARTS: Final = 4


def split_parts(task: Task, split: str, batch: int) -> tuple[slice, ...]:
    """Parts of a split, each spread over all of its examples.

    None is smaller than `batch`, the examples decoded together, or scoring would take longer.
    """
    count = max(1, min(_MAX_PARTS, len(task.examples(split)) // batch))
    return tuple(slice(part, None, count) for part in range(count))


def score_in_parts(
    score: Callable[[slice | None], Generator[Any, Any, SplitScores]],
    task: Task,
    parts: Sequence[slice | None],
    race: Callable[[SplitScores], str | None] | None,
) -> Generator[Any, Any, SplitScores]:
    """Scores part after part, so that a race can end a trial that is behind early.

    Args:
        score: scores one part.
        task: computes the metrics' values of all parts together.
        parts: slices of the split; None for all of it.
        race: called with the scores so far after each part but the last; returns why to stop,
            or None.

    Raises:
        PrunedError: the race said so.
    """
    scores: list[SplitScores] = []
    for count, part in enumerate(parts, 1):
        scores.append((yield from score(part)))
        if race is not None and count < len(parts):
            reason = race(merge_scores(task, scores))
            if reason is not None:
                raise PrunedError(reason)
    return merge_scores(task, scores)


def merge_scores(task: Task, parts: Sequence[SplitScores]) -> SplitScores:
    """Scores of a split from those of its disjoint parts, in the order of the task's examples."""
    if len(parts) == 1:
        return parts[0]
    order = {example.id: index for index, example in enumerate(task.examples(parts[0].split))}
    rows = [
        row
        for part in parts
        for row in zip(part.ids, part.predictions, part.unparsed, part.statistics, strict=True)
    ]
    rows.sort(key=lambda row: order[row[0]])
    ids, predictions, unparsed, statistics = zip(*rows, strict=True)
    values = task.values([*statistics], [*unparsed])
    return SplitScores(parts[0].split, ids, predictions, unparsed, statistics, values)


#: What a trial yields at a pause: nothing after its start and each step, or a request for scores.
Pause = ScoreRequest | None
#: One trial: sent the scores that it requested, returns its result.
TrialRun = Generator[Pause, SplitScores | None, TrialResult]


class SequentialTrainer:
    """The engine of one adapter at a time.

    Args:
        base: no adapter attached; stays as it is.
        task: what is trained and scored.
        training: how.
        variants: where variants are looked up.
        tokens: of the task's examples, if they were made before.

    Raises:
        UserError: no training example fits into `max_length`.
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        training: TrainingSettings,
        variants: Registry[Variant] = VARIANTS,
        tokens: TokenizedTask | None = None,
    ) -> None:
        self._base, self._task, self._training, self._variants = base, task, training, variants
        self._tokens = tokens or make_tokens(base, task, training)
        self._sequences = self._tokens.training().sequences
        self._loss = loss_for(base.model, task)
        self._checksum = quick_checksum(base.model)
        # What the proofs compare with: the base's weights, and its output on one example.
        self._layer_weights = _layer_weights(base.model)
        self._probe = torch.tensor([self._sequences[0].ids], device=base.device)
        self._base_output = token_classifier.probe_output(base.model, self._probe)

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
        device = self._base.device
        for request in trials:
            if request is not None:
                with torch.random.fork_rng([device] if device.type == "cuda" else []):
                    yield _run_to_end(self._run_trial(request, report, race))

    def _run_trial(self, request: TrialRequest, report: Report, race: Race | None) -> TrialRun:
        """One trial: attaches, trains, scores, saves and detaches.

        Pauses after its start and after each step, and wherever `_score_split` does. Any error
        inside becomes a failed result: the next trial is not affected.
        """
        trial, peak = RunningTrial(request), PeakMemory(self._base.device)
        scores: dict[str, SplitScores] = {}
        outcome, error, folder = Outcome.COMPLETE, None, None
        try:
            with self._attach(trial) as adapter:
                yield from self._fit(trial, adapter, report)
                for split in request.splits:
                    # Only the first split, on which trials are compared, can be raced.
                    raced = partial(race, request.number) if race and not scores else None
                    parts: Sequence[slice | None] = (None,)
                    if raced and request.readings:
                        parts = split_parts(self._task, split, self._training.score_batch_size)
                    score = partial(self._score_split, trial, adapter, split)
                    scores[split] = yield from score_in_parts(score, self._task, parts, raced)
                if request.adapter_dir is not None:
                    with self._on_base(adapter):
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

    @contextmanager
    def _attach(self, trial: RunningTrial) -> Iterator[Adapter]:
        """Attaches a trial's adapter, and detaches it in the end."""
        config = trial.request.config
        steps = loop.step_count(self._training, len(self._sequences), config.budget)
        pad = int(self._base.tokenizer.pad_token_id)
        context = InitContext(steps, self._sequences, pad)
        with attach.attached_adapter(self._base, config, self._variants, context) as adapter:
            trained = (p for p in self._base.model.parameters() if p.requires_grad)
            trial.parameters = sum(weight.numel() for weight in trained)
            trial.inference_memory = weight_bytes(self._base.model)
            yield adapter

    def _on_base(self, adapter: Adapter) -> AbstractContextManager[None]:
        """Has an adapter on the base inside the context; in this engine it always is."""
        del adapter
        return nullcontext()

    def _make_run(self, trial: RunningTrial, adapter: Adapter) -> TrainingRun:
        """The training loop of a trial."""
        steps, sequences = adapter.context.steps, self._sequences
        return TrainingRun(
            self._base, self._loss, sequences, adapter, self._training, steps, trial.progress
        )

    def _fit(
        self, trial: RunningTrial, adapter: Adapter, report: Report
    ) -> Generator[Pause, SplitScores | None, None]:
        """Trains to the last step, until readings stop improving, or until `report` says stop.

        Raises:
            ProofError: the variant does not do what its name says.
        """
        training, steps = self._training, adapter.context.steps
        run = self._make_run(trial, adapter)
        with self._on_base(adapter), torch.no_grad():
            proofs = self._proofs(adapter, run)
            for proof in proofs.values():
                proof.check_before()
        rungs = rung_steps(steps, training.readings)
        yield None
        for step in run:
            if step in rungs or step == steps:
                yield from self._take_reading(trial, adapter, run, step == steps, report)
                if self._has_stopped_improving(trial):
                    break
            if step < steps:
                yield None
        run.release()
        with self._on_base(adapter), torch.no_grad():
            attach.set_dropout(self._base.model, on=False)
            if trial.progress.step == steps:  # AdaLoRA, say, has its final ranks only then
                for proof in proofs.values():
                    proof.check_after()
                trial.proofs = tuple(proofs)
            if training.restore_best and trial.best_weights is not None:
                for parameter, weight in zip(run.parameters, trial.best_weights, strict=True):
                    parameter.copy_(weight)

    def _proofs(self, adapter: Adapter, run: TrainingRun) -> dict[str, Proof]:
        """The proofs of the trial's variant, and those of its base and head, by name."""
        context = ProofContext(
            adapter, run.groups, self._probe, self._base_output, self._layer_weights
        )
        names = adapter.variant.proofs
        if getattr(self._base.model.config, "quantization_config", None) is not None:
            names = (*names, "quantised")
        if token_classifier.find_head(self._base.model) is not None:
            names = (*names, "head_trained")
        return {name: PROOFS.get(name)(context) for name in names}

    def _take_reading(
        self, trial: RunningTrial, adapter: Adapter, run: TrainingRun, last: bool, report: Report
    ) -> Generator[Pause, SplitScores | None, None]:
        """One reading: the mean loss since the last one and, where it is needed, the objective.

        At the last step the objective is needed only where these weights compete with earlier
        ones (`restore_best`): the trial is scored after it anyway.

        Raises:
            PrunedError: `report` ended the trial.
        """
        progress, training = trial.progress, self._training
        value = None
        keeps_best = training.restore_best or (training.early_stopping is not None and not last)
        if keeps_best or (trial.request.readings and not last):
            with self._on_base(adapter):
                attach.set_dropout(self._base.model, on=False)
            split = trial.request.splits[0] if trial.request.splits else "validation"
            scores = yield from self._score_split(trial, adapter, split, training.reading_examples)
            value = evaluation.objective_value(self._task, scores)
            with self._on_base(adapter):
                attach.set_dropout(self._base.model, on=True)
        batches = -(-len(self._sequences) // training.batch_size)  # an epoch's, rounded up
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
            trial.keep_best(value * self._task.objective.sign, run.parameters)
        if trial.request.readings and not last and not report(trial.request.number, measurement):
            objective = self._task.objective.name
            raise PrunedError(f"pruned at step {progress.step}: {objective} {value:.4g}")

    def _has_stopped_improving(self, trial: RunningTrial) -> bool:
        patience = self._training.early_stopping
        return patience is not None and len(trial.measurements) - trial.best_reading >= patience

    def _score_split(
        self, trial: RunningTrial, adapter: Adapter, split: str, examples: Selection = None
    ) -> Generator[Pause, SplitScores | None, SplitScores]:
        """Scores an adapter with its present weights; in this engine without a pause."""
        yield from ()
        return self._score_alone(trial, adapter, ScoreRequest(split, examples))

    def _score_alone(
        self, trial: RunningTrial, adapter: Adapter, request: ScoreRequest
    ) -> SplitScores:
        """Scores one adapter on the base."""
        start = time.perf_counter()
        try:
            with self._on_base(adapter):
                rows, (split, examples) = self._training.score_batch_size, request
                return evaluation.score(
                    self._base, self._task, split, examples, batch_size=rows, tokens=self._tokens
                )
        finally:
            trial.score_seconds += time.perf_counter() - start


def make_tokens(base: BaseModel, task: Task, training: TrainingSettings) -> TokenizedTask:
    """A task's examples as tokens of this base, for any engine.

    With `training.packing`, texts of a task without answers share rows, on a base that keeps
    sequences of one row apart.
    """
    texts = task.type.answers is AnswerMode.LIKELIHOOD
    packing = training.packing and texts and keeps_sequences_apart(base.model)
    return TokenizedTask(base, task, training.max_length, packing)


def _run_to_end(run: TrialRun) -> TrialResult:
    while True:
        try:
            next(run)
        except StopIteration as end:
            result: TrialResult = end.value
            return result


def _layer_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the base's layers by the layer's name; views, no copies."""
    return {
        name.removesuffix(".weight"): weight.data
        for name, weight in model.named_parameters()
        if name.endswith(".weight")
    }
