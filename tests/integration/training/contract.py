"""What any engine must do; a test class for each engine inherits it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from harness.config.settings import TrainingSettings
from harness.config.variants import VARIANTS
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task
from harness.training.evaluation import score
from harness.training.trainer import Race, Trainer
from harness.trial import Measurement, Outcome, SplitScores, TrialConfig, TrialRequest, TrialResult

#: What a variant needs to learn notes by heart, where it is not a rate of 1e-2.
NEEDS: dict[str, dict[str, object]] = {
    "lora_plus": {"learning_rate": 2e-3},
    "vera": {"learning_rate": 2e-1, "rank": 256},
}
SETTINGS = {"epochs": 30, "batch_size": 4, "warmup": 0.1, "readings": 2, "reading_examples": 3}


def go_on(_number: int, _reading: Measurement) -> bool:
    """A report that never ends a trial."""
    return True


def config(variant: str = "lora", **changes: object) -> TrialConfig:
    """A configuration that learns the toy task's notes by heart."""
    return TrialConfig(variant, 16, 32.0, 0.0, "all_linear", 1e-2, 5).replace(**changes)


class TrainerContract:
    """One trial after the other or several at once: seen from outside there is no difference."""

    #: How far losses of equal trials may be apart, as a share: neighbours change the last bits.
    near = 0.0

    def make(self, base: BaseModel, task: Task, training: TrainingSettings) -> Trainer:
        """The engine under test."""
        raise NotImplementedError

    def run(
        self,
        base: BaseModel,
        task: Task,
        requests: list[TrialRequest],
        report: Callable[[int, Measurement], bool] = go_on,
        race: Race | None = None,
        **settings: object,
    ) -> dict[int, TrialResult]:
        """Results by number."""
        training = TrainingSettings(**(SETTINGS | settings))
        results = self.make(base, task, training).train(iter(requests), report, race)
        return {result.number: result for result in results}

    @pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT's
    # PEFT looks for the names of AdaLoRA's masks among those of layers, and finds none.
    @pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning")
    @pytest.mark.parametrize("variant", VARIANTS.names())
    def test_a_variant_learns_and_leaves_the_base_alone(
        self, variant: str, base: BaseModel, task: Task, model_folder: Path, tmp_path: Path
    ) -> None:
        before, bare = checksum(base.model), score(base, task, "train")
        wanted = config(variant, **NEEDS.get(variant, {"learning_rate": 1e-2}))
        request = TrialRequest(
            3,
            wanted,
            splits=("train", "validation"),
            adapter_dir=str(tmp_path / "adapter"),
        )
        result = self.run(base, task, [request], epochs=60)[3]
        assert checksum(base.model) == before
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        losses = [reading.loss for reading in result.measurements]
        assert len(losses) == 3
        # The frozen output head of a random model keeps the loss above one nat.
        assert losses[-1] < 0.6 * losses[0]
        assert tuple(result.scores) == ("train", "validation")
        trained = result.scores["train"]
        assert trained.predictions != bare.predictions
        assert trained.values["entity_f1"] > 0.8 > 0.2 > bare.values["entity_f1"]
        assert result.cost.parameters > 0
        assert result.cost.tokens > 0
        assert result.cost.peak_memory > 0
        assert result.cost.inference_memory > sum(w.nbytes for w in base.model.parameters())
        assert result.cost.train_seconds > 0 < result.cost.score_seconds
        # What was saved is what was scored.
        assert result.adapter == request.adapter_dir
        bases = [*tmp_path.glob("base-*")]  # LoftQ's adapter belongs to a base of its own
        loaded = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(bases[0] if bases else model_folder),
            str(result.adapter),
        )
        again = BaseModel(
            base.name, loaded.eval().to(base.device), base.tokenizer, base.device, ""
        )
        assert score(again, task, "train").predictions == trained.predictions

    def test_a_trial_that_diverges_takes_no_other_along(self, base: BaseModel, task: Task) -> None:
        good = TrialRequest(1, config())
        alone = self.run(base, task, [good])[1]
        wild = TrialRequest(0, config(learning_rate=1e30))
        unknown = TrialRequest(2, config(target_modules="q_prj"))
        found = self.run(base, task, [wild, good, unknown])
        assert found[0].outcome is Outcome.FAILED
        assert "diverged at step" in (found[0].error or "")
        assert found[0].scores == {}
        assert found[2].outcome is Outcome.FAILED
        assert "match no layer" in (found[2].error or "")
        assert found[1].scores == alone.scores
        assert losses(found[1]) == pytest.approx(losses(alone), rel=self.near, abs=0)

    def test_a_report_can_end_a_trial(self, base: BaseModel, task: Task) -> None:
        seen: list[tuple[int, int]] = []

        def report(number: int, reading: Measurement) -> bool:
            assert reading.value is not None
            seen.append((number, reading.step))
            return number != 7 or len([step for n, step in seen if n == 7]) < 2

        requests = [
            TrialRequest(7, config(rank=2), readings=True),
            TrialRequest(8, config(rank=4), readings=True),
            TrialRequest(9, config(rank=4)),
        ]
        found = self.run(base, task, requests, report)
        assert found[7].outcome is Outcome.PRUNED
        assert "pruned at step 60" in (found[7].error or "")
        assert found[7].scores == {}
        assert [reading.step for reading in found[7].measurements] == [30, 60]
        assert found[8].outcome is Outcome.COMPLETE
        assert [reading.step for reading in found[8].measurements] == [30, 60, 90]
        assert sorted(step for number, step in seen if number == 8) == [30, 60]
        # A trial without readings is never reported, and looking does not change the outcome.
        assert not [step for number, step in seen if number == 9]
        assert [reading.value for reading in found[9].measurements] == [None, None, None]
        assert found[9].scores == found[8].scores

    def test_a_race_sees_parts_and_can_end_the_scoring(self, base: BaseModel, task: Task) -> None:
        seen: list[tuple[int, int]] = []

        def race(number: int, scores: SplitScores) -> str | None:
            seen.append((number, len(scores.ids)))
            assert scores.values == task.values([*scores.statistics], [*scores.unparsed])
            return "raced: far behind" if number == 7 else None

        whole = len(task.examples("train"))
        assert whole >= 8
        splits, other = ("train", "validation"), config(rank=4)
        requests = [
            TrialRequest(7, config(rank=2), splits, readings=True),
            TrialRequest(8, other, splits, readings=True),
            TrialRequest(9, other, splits),
        ]
        found = self.run(base, task, requests, race=race, score_batch_size=2)
        assert found[7].outcome is Outcome.PRUNED
        assert (found[7].error, found[7].scores) == ("raced: far behind", {})
        quarter = -(-whole // 4)
        assert [count for number, count in seen if number == 7][:1] == [quarter]
        assert len([count for number, count in seen if number == 8]) == 3
        assert not [count for number, count in seen if number == 9]
        # Parts come to what one piece does, in the same order.
        assert found[8].scores == found[9].scores
        assert len(found[8].scores["train"].ids) == whole

    def test_a_budget_shortens_steps_and_schedule(self, base: BaseModel, task: Task) -> None:
        whole = TrialRequest(0, config(), splits=())
        half = TrialRequest(1, config(budget=0.5), splits=())
        found = self.run(base, task, [whole, half])
        assert [found[n].measurements[-1].step for n in (0, 1)] == [90, 45]
        assert found[1].measurements[-1].epoch == pytest.approx(15.0)
        # The first steps have other rates, so the losses differ from the start.
        assert found[1].measurements[0].loss != found[0].measurements[0].loss

    def test_equal_requests_have_equal_results(self, base: BaseModel, task: Task) -> None:
        requests = [TrialRequest(n, config(dropout=0.1)) for n in (0, 1)]
        found = self.run(base, task, requests)
        assert found[0].scores == found[1].scores
        assert losses(found[0]) == pytest.approx(losses(found[1]), rel=self.near, abs=0)
        other = self.run(base, task, [TrialRequest(2, config(dropout=0.1, seed=6))])[2]
        assert losses(other) != losses(found[0])

    def test_trials_are_taken_when_there_is_room(self, base: BaseModel, task: Task) -> None:
        taken: list[int] = []

        def requests() -> Iterator[TrialRequest]:
            for number in range(3):
                taken.append(number)
                yield TrialRequest(number, config(rank=1), splits=())

        results = self.make(base, task, TrainingSettings(steps=1)).train(requests(), go_on)
        assert taken == []
        assert [result.number for result in results] == [0, 1, 2]
        assert taken == [0, 1, 2]


def losses(result: TrialResult) -> list[float]:
    """The losses of all readings."""
    return [reading.loss for reading in result.measurements]
