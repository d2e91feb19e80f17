"""Trains one adapter at a time through PEFT: the plain engine. Knows nothing of Optuna or storage.

All trials of a process share one frozen base. An adapter is put on, trained, scored and taken off
again; after each trial the base is proven to be what it was.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from harness.adapters import attaching
from harness.adapters.adapter import Adapter, Circumstances
from harness.adapters.proof import PROOFS, Proof, ProofError, Subject
from harness.errors import UserError
from harness.models import token_head
from harness.models.base_model import BaseModel
from harness.models.checksums import quick_checksum
from harness.models.memory import PeakMemory, ran_out
from harness.registry import Registry
from harness.settings import TrainingSettings
from harness.task import Answers, Task
from harness.training import evaluation, optimisation
from harness.training.batches import TaskTokens, token_notes
from harness.training.completion_loss import keeps_apart
from harness.training.losses import loss_of
from harness.training.run import DivergedError, Progress, Run
from harness.training.trainer import Report
from harness.trial import Cost, Measurement, Outcome, SplitScores, TrialRequest, TrialResult
from harness.variants import VARIANTS, Variant


class _PrunedError(Exception):
    """The trial was ended from outside; says where."""


@dataclass
class _Trial:
    """One trial in progress: what is known of it whatever way it ends."""

    request: TrialRequest
    progress: Progress = field(default_factory=Progress)
    measurements: list[Measurement] = field(default_factory=list)
    score_seconds: float = 0.0
    parameters: int = 0
    best: float | None = None
    best_reading: int = 0
    best_weights: list[torch.Tensor] | None = None
    proofs: tuple[str, ...] = ()

    def note(self, value: float, parameters: list[torch.nn.Parameter]) -> None:
        """Keeps the weights if this reading (more is better) is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_reading = value, len(self.measurements)
            self.best_weights = [parameter.detach().clone() for parameter in parameters]


class SequentialTrainer:
    """The plain engine.

    Args:
        base: no adapter attached; stays as it is.
        task: what is trained and scored.
        training: how.
        variants: where variants are looked up.
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task,
        training: TrainingSettings,
        variants: Registry[Variant] = VARIANTS,
    ) -> None:
        """Makes the training tokens and notes the base's checksum.

        Raises:
            UserError: no training example fits into `max_length`.
        """
        self._base, self._task, self._training, self._variants = base, task, training, variants
        self._tokens = TaskTokens(base, task, training.max_length, self._packs())
        self._sequences = self._tokens.training().sequences
        self._loss = loss_of(base.model, task)
        self._checksum = quick_checksum(base.model)
        self._weights = _weights(base.model)
        self._probe = torch.tensor([self._sequences[0].ids], device=base.device)
        self._bare = token_head.reading(base.model, self._probe)

    def _packs(self) -> bool:
        """Whether texts share rows: wanted, of a task of texts alone, and kept apart here."""
        texts = self._task.kind.answers is Answers.LIKELIHOOD
        return self._training.packing and texts and keeps_apart(self._base.model)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the training tokens: examples cut or left out."""
        return token_notes(self._task, self._tokens.training(), self._training)

    def train(self, trials: Iterator[TrialRequest], report: Report) -> Iterator[TrialResult]:
        """Trains one trial after the other; see `Trainer.train`.

        Raises:
            RuntimeError: a trial changed the frozen base; no result can be trusted any more.
        """
        for request in trials:
            result = self._one(request, report)
            if quick_checksum(self._base.model) != self._checksum:
                raise RuntimeError(f"trial {request.number} changed the frozen base model")
            yield result

    def _one(self, request: TrialRequest, report: Report) -> TrialResult:
        """One trial; whatever goes wrong inside it ends as its result."""
        trial, peak = _Trial(request), PeakMemory(self._base.device)
        scores: dict[str, SplitScores] = {}
        outcome, error, folder = Outcome.COMPLETE, None, None
        try:
            with _random(self._base), self._attached(trial) as adapter:
                self._fit(trial, adapter, report)
                scores = {split: self._score(trial, split) for split in request.splits}
                if request.adapter_dir is not None:
                    folder = str(attaching.save(adapter, request.adapter_dir))
        except _PrunedError as reason:
            outcome, error = Outcome.PRUNED, str(reason)
        except Exception as reason:
            outcome, error, scores, folder = Outcome.FAILED, _told(reason), {}, None
        if self._base.device.type == "cuda" and outcome is Outcome.FAILED:
            torch.cuda.empty_cache()
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
            ),
            adapter=folder,
            proofs=trial.proofs if outcome is Outcome.COMPLETE else (),
            error=error,
        )

    @contextmanager
    def _attached(self, trial: _Trial) -> Iterator[Adapter]:
        config = trial.request.config
        steps = optimisation.step_count(self._training, len(self._sequences), config.budget)
        pad = int(self._base.tokenizer.pad_token_id)
        given = Circumstances(steps, self._sequences, pad)
        with attaching.attached(self._base, config, self._variants, given) as adapter:
            trained = (p for p in self._base.model.parameters() if p.requires_grad)
            trial.parameters = sum(weight.numel() for weight in trained)
            yield adapter

    def _fit(self, trial: _Trial, adapter: Adapter, report: Report) -> None:
        """Trains to the end, to the last useful reading, or until `report` says stop.

        Raises:
            ProofError: the variant does not do what its name says.
        """
        training, steps = self._training, adapter.given.steps
        run = Run(
            self._base,
            self._loss,
            self._sequences,
            adapter,
            training,
            steps,
            trial.progress,
        )
        proofs = self._proofs(adapter, run)
        with torch.no_grad():
            for proof in proofs.values():
                proof.begin()
        rungs = rung_steps(steps, training.readings)
        for step in run:
            if step in rungs or step == steps:
                self._read(trial, run, last=step == steps, report=report)
                if self._is_stale(trial):
                    break
        attaching.dropout_mode(self._base.model, on=False)
        if trial.progress.step == steps:  # what a variant ends as is not there before
            with torch.no_grad():
                for proof in proofs.values():
                    proof.end()
            trial.proofs = tuple(proofs)
        if training.restore_best and trial.best_weights is not None:
            _restore(run.parameters, trial.best_weights)

    def _proofs(self, adapter: Adapter, run: Run) -> dict[str, Proof]:
        subject = Subject(adapter, run.groups, self._probe, self._bare, self._weights)
        names = adapter.variant.proofs
        if getattr(self._base.model.config, "quantization_config", None) is not None:
            names = (*names, "quantised")
        if token_head.find(self._base.model) is not None:
            names = (*names, "head_trained")
        return {name: PROOFS.get(name)(subject) for name in names}

    def _read(self, trial: _Trial, run: Run, last: bool, report: Report) -> None:
        """One reading: the loss so far and, where somebody asks for it, the objective.

        The last weights are read only where they compete with earlier ones.
        """
        progress, training = trial.progress, self._training
        value = None
        keeps_best = training.restore_best or (training.early_stopping is not None and not last)
        if keeps_best or (trial.request.readings and not last):
            attaching.dropout_mode(self._base.model, on=False)
            split = trial.request.splits[0] if trial.request.splits else "validation"
            scores = self._score(trial, split, training.reading_examples)
            value = evaluation.objective_value(self._task, scores)
            attaching.dropout_mode(self._base.model, on=True)
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
            raise _PrunedError(f"pruned at step {progress.step}: {objective} {value:.4g}")

    def _is_stale(self, trial: _Trial) -> bool:
        patience = self._training.early_stopping
        return patience is not None and len(trial.measurements) - trial.best_reading >= patience

    def _score(self, trial: _Trial, split: str, examples: int | None = None) -> SplitScores:
        start = time.perf_counter()
        try:
            return evaluation.score(
                self._base,
                self._task,
                split,
                examples,
                batch_size=self._training.score_batch_size,
                tokens=self._tokens,
            )
        finally:
            trial.score_seconds += time.perf_counter() - start


def rung_steps(steps: int, readings: int) -> tuple[int, ...]:
    """Steps after which readings are taken: they cut the training into `readings` + 1 parts."""
    rungs = {round(steps * rung / (readings + 1)) for rung in range(1, readings + 1)}
    return tuple(sorted(rungs - {0, steps}))


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


@torch.no_grad()
def _restore(parameters: list[torch.nn.Parameter], weights: list[torch.Tensor]) -> None:
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)


def _told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, DivergedError | UserError):
        return str(error)
    if isinstance(error, ProofError):
        return f"not what the variant's name says: {error}"
    if ran_out(error):
        return "out of memory; smaller training.micro_batch_size or score_batch_size need less"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
