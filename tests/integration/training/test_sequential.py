import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from harness.config.settings import ModelSettings, TrainingSettings
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.models.batches import Batch
from harness.tasks.task import Task, load_task
from harness.training import evaluation, sequential
from harness.training.losses import CompletionLoss
from harness.training.sequential import SequentialTrainer, rung_steps
from harness.trial import Measurement, Outcome, TrialConfig, TrialRequest
from tests import toy
from tests.integration.training.contract import TrainerContract, config, go_on, losses

pytestmark = pytest.mark.gpu


class TestSequentialTrainer(TrainerContract):
    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> SequentialTrainer:
        return SequentialTrainer(base, task, training)

    def test_a_trial_is_handed_out_after_the_one_before(self, base: BaseModel, task: Task) -> None:
        requests = iter([TrialRequest(n, config(rank=1), splits=()) for n in (0, 1)])
        results = self.make(base, task, TrainingSettings(steps=1)).train(requests, go_on)
        assert next(results).number == 0
        assert next(requests).number == 1

    def test_the_best_reading_is_restored(
        self, base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = iter([0.2, 0.9, 0.4])
        read: list[tuple[str, ...]] = []
        real = evaluation.objective_value

        def scripted(of: Task, scores: evaluation.SplitScores) -> float:
            if len(scores.ids) == 3:  # a reading; the whole split has five
                read.append(scores.predictions)
                return next(values)
            return real(of, scores)

        monkeypatch.setattr(sequential.evaluation, "objective_value", scripted)
        request = TrialRequest(0, config())
        best = self.run(base, task, [request], restore_best=True)[0]
        assert [reading.value for reading in best.measurements] == [0.2, 0.9, 0.4]
        chosen = evaluation.evenly_spaced(5, 3)
        written = best.scores["validation"].predictions
        assert tuple(written[index] for index in chosen) == read[1] != read[2]

    @pytest.mark.parametrize(("patience", "steps"), [(1, [18, 36]), (2, [18, 36, 54])])
    def test_training_stops_when_readings_get_no_better(
        self,
        base: BaseModel,
        task: Task,
        monkeypatch: pytest.MonkeyPatch,
        patience: int,
        steps: list[int],
    ) -> None:
        values = iter([0.5, 0.4, 0.5, 0.3, 0.9])
        monkeypatch.setattr(sequential.evaluation, "objective_value", lambda *_: next(values))
        found = self.run(
            base, task, [TrialRequest(0, config(), splits=())], early_stopping=patience, readings=4
        )[0]
        assert found.outcome is Outcome.COMPLETE
        assert [reading.step for reading in found.measurements] == steps

    @pytest.mark.parametrize(
        ("error", "told"),
        [
            (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory"),
            (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
            (ValueError("first line\nsecond"), "ValueError: first line"),
            (AssertionError(), "AssertionError"),
        ],
    )
    def test_any_error_inside_a_trial_is_its_result(
        self,
        base: BaseModel,
        task: Task,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        told: str,
    ) -> None:
        real, calls = sequential.evaluation.score, []

        def once(*given: object, **named: object) -> object:
            calls.append(given)
            if len(calls) == 1:
                raise error
            return real(*given, **named)

        monkeypatch.setattr(sequential.evaluation, "score", once)
        requests = [TrialRequest(n, config(rank=2)) for n in (0, 1)]
        found = self.run(base, task, requests, epochs=2)
        assert found[0].outcome is Outcome.FAILED
        assert (found[0].error or "").startswith(told)
        assert found[0].cost.train_seconds > 0
        assert found[1].outcome is Outcome.COMPLETE

    def test_a_trial_that_runs_out_of_memory_is_that_of_a_smaller_micro_batch(
        self, base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = TrialRequest(0, config("dora", dropout=0.1), readings=True)
        expected = self.run(base, task, [request], micro_batch_size=2, epochs=4)[0]
        forward = CompletionLoss.__call__

        def bounded(loss: CompletionLoss, batch: Batch) -> torch.Tensor:
            value = forward(loss, batch)
            if len(batch.ids) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return value

        monkeypatch.setattr(CompletionLoss, "__call__", bounded)
        result = self.run(base, task, [request], epochs=4)[0]
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert result.changed == "memory ran out: micro-batches of 2 sequences instead of 4"
        assert expected.changed is None
        assert losses(result) == losses(expected)
        assert result.scores == expected.scores
        assert result.cost.tokens == expected.cost.tokens

    def test_an_interrupt_passes_and_leaves_the_base_clean(
        self, base: BaseModel, task: Task
    ) -> None:
        before = checksum(base.model)

        def interrupt(_number: int, _reading: Measurement) -> bool:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.run(base, task, [TrialRequest(0, config(), readings=True)], interrupt)
        assert checksum(base.model) == before

    def test_a_changed_base_stops_everything(self, task: Task, tmp_path: Path) -> None:
        own = base_model.load(ModelSettings(name=str(toy.save_model(tmp_path))))

        def damage(_number: int, _reading: Measurement) -> bool:
            own.model.model.embed_tokens.weight.data *= 1.01
            return True

        with pytest.raises(RuntimeError, match="trial 4 changed the frozen base model"):
            self.run(own, task, [TrialRequest(4, config(), readings=True)], damage)

    def test_the_global_generator_is_left_as_it_was(self, base: BaseModel, task: Task) -> None:
        torch.manual_seed(11)
        expected = torch.rand(2)
        torch.manual_seed(11)
        self.run(base, task, [TrialRequest(0, config(dropout=0.1))], epochs=1)
        assert torch.equal(torch.rand(2), expected)

    def test_notes_tell_what_was_cut(self, base: BaseModel, task: Task) -> None:
        assert self.make(base, task, TrainingSettings(epochs=1)).notes == ()
        answers = sorted(len(task.target(one)) + 2 for one in task.examples("train"))
        tight = TrainingSettings(epochs=1, max_length=answers[-2] + 1)
        cut, left_out = self.make(base, task, tight).notes
        assert "training prompts were cut on the left" in cut
        assert left_out.startswith("1 training examples were left out")


@pytest.mark.parametrize(("steps", "readings"), [(252, 3), (10, 4), (100, 1), (7, 3)])
def test_rungs_are_evenly_spaced_inside_the_training(steps: int, readings: int) -> None:
    rungs = rung_steps(steps, readings)
    assert len(rungs) == readings
    gaps = [later - earlier for earlier, later in pairwise((0, *rungs, steps))]
    assert max(gaps) - min(gaps) <= 1


def test_short_trainings_have_fewer_rungs() -> None:
    assert rung_steps(2, 5) == (1,)
    assert rung_steps(1, 3) == ()
    assert rung_steps(100, 0) == ()


def outcome_with(model: Path, folder: Path, threads: int) -> list[object]:
    """Losses to the last bit, and what was written, with a base and a task loaded anew."""
    base = base_model.load(ModelSettings(name=str(model)), threads=threads)
    training = TrainingSettings(epochs=2, batch_size=4)
    trainer = SequentialTrainer(base, load_task(f"{folder}/"), training)
    wanted = TrialConfig("dora", 4, 8.0, 0.1, "all_linear", 1e-2, 2)
    (result,) = trainer.train(iter([TrialRequest(0, wanted)]), go_on)
    written = result.scores["validation"].predictions
    return [[reading.loss.hex() for reading in result.measurements], list(written)]


PROGRAM = """
import json, sys
from pathlib import Path
from tests.integration.training.test_sequential import outcome_with

model, folder = map(Path, sys.argv[1:])
print(json.dumps({threads: outcome_with(model, folder, threads) for threads in (1, 2)}))
"""


def test_a_fresh_process_agrees_to_the_last_bit_with_one_thread_and_with_two(
    model_folder: Path, task: Task
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, model_folder, task.folder],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    before = torch.get_num_threads()
    try:
        here = {str(n): outcome_with(model_folder, task.folder, n) for n in (1, 2)}
    finally:
        torch.set_num_threads(before)
    assert json.loads(done.stdout) == here


def test_results_do_not_depend_on_the_trials_before(base: BaseModel, task: Task) -> None:
    training = TrainingSettings(epochs=3, batch_size=4)
    last = TrialRequest(9, config("dora", rank=8, dropout=0.1))
    before = [TrialRequest(0, config(rank=64)), TrialRequest(1, config("lora_plus", rank=1))]
    alone = list(SequentialTrainer(base, task, training).train(iter([last]), go_on))[-1]
    after = list(SequentialTrainer(base, task, training).train(iter([*before, last]), go_on))[-1]
    assert alone.scores == after.scores
    assert losses(alone) == losses(after)
