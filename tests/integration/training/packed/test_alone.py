"""What cannot be packed runs by itself among packed trials, as the sequential engine runs it."""

from pathlib import Path

import pytest
import torch
from transformers import GPTJConfig

from harness.config.settings import ModelSettings, TrainingSettings
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests import toy_bases, toy_tags
from tests.integration.training.packed.test_oracle import losses, run, weights

# PEFT asks Transformers by the old name of a property.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    # PEFT looks for the names of AdaLoRA's masks among those of layers, and finds none.
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning"),
]

STEPS = 12
TRAINING = TrainingSettings(steps=STEPS, batch_size=4, warmup=0.2, readings=STEPS - 1)
PLAIN = TrialConfig("lora", 4, 8.0, 0.1, "all_linear", 5e-3, 5)
ALONE = {
    "adalora": PLAIN.replace(variant="adalora"),
    "vera": PLAIN.replace(variant="vera", learning_rate=1e-1),
    "modules_to_save": PLAIN.with_level("modules_to_save", "norm"),
    "bias": PLAIN.with_level("bias", "all"),
    "optimizer": PLAIN.with_level("optimizer", "adamw_8bit"),
    "compute_dtype": PLAIN.with_level("compute_dtype", "bfloat16"),
    "gradient_checkpointing": PLAIN.with_level("gradient_checkpointing", "on"),
}
NEIGHBOURS = (
    TrialConfig("lora", 3, 6.0, 0.1, "all_linear", 2e-3, 11),
    TrialConfig("dora", 2, 4.0, 0.1, "qv", 5e-3, 12, budget=0.5),
    TrialConfig("lora_plus", 2, 4.0, 0.0, "mlp", 1e-3, 13),
)


def same(found: TrialResult, wanted: TrialResult) -> None:
    """To the last digit."""
    assert (found.outcome, found.error) == (Outcome.COMPLETE, None)
    assert losses(found) == losses(wanted)
    assert found.scores == wanted.scores
    assert found.proofs == wanted.proofs
    assert (found.cost.tokens, found.cost.parameters) == (
        wanted.cost.tokens,
        wanted.cost.parameters,
    )
    assert found.cost.pack == wanted.cost.pack == 1
    one, other = weights(found), weights(wanted)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ALONE)
def test_a_trial_by_itself_among_packed_ones_is_the_sequential_engine_s(
    name: str, base: BaseModel, task: Task, tmp_path: Path
) -> None:
    def request(folder: str) -> TrialRequest:
        return TrialRequest(9, ALONE[name], adapter_dir=str(tmp_path / folder))

    before = checksum(base.model)
    wanted = run(SequentialTrainer(base, task, TRAINING), [request("oracle")])[9]
    others = [TrialRequest(number, each) for number, each in enumerate(NEIGHBOURS)]
    undisturbed = run(PackedTrainer(base, task, TRAINING, 2), others)
    # The first two are under way when it comes, and go on when it is over.
    found = run(
        PackedTrainer(base, task, TRAINING, 3), [*others[:2], request("found"), *others[2:]]
    )
    same(found[9], wanted)
    for number in range(2):
        result = found[number]
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        assert result.cost.pack > 1
        assert losses(result) == pytest.approx(losses(undisturbed[number]), rel=1e-4)
    assert found[2].outcome is Outcome.COMPLETE
    assert checksum(base.model) == before
    assert next(iter(found)) == 9  # trained when it was taken, before any other ended


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy_tags.load_task(tmp_path_factory.mktemp("tagged"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, tagged: Task) -> BaseModel:
    folder = toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))
    return base_model.load(ModelSettings(name=str(folder)), 1, tagged.type.head)


def test_a_head_that_tags_tokens_is_trained_one_adapter_after_the_other(
    encoder: BaseModel, tagged: Task, tmp_path: Path
) -> None:
    def requests(folder: str) -> list[TrialRequest]:
        return [
            TrialRequest(number, PLAIN.replace(variant=variant), adapter_dir=str(tmp_path / at))
            for number, variant in enumerate(("lora", "dora"))
            for at in [f"{folder}-{number}"]
        ]

    wanted = run(SequentialTrainer(encoder, tagged, TRAINING), requests("oracle"))
    trainer = PackedTrainer(encoder, tagged, TRAINING, 2)
    found = run(trainer, requests("found"))
    for number in (0, 1):
        same(found[number], wanted[number])
    why = "a head that tags tokens belongs to one adapter"
    assert trainer.notes == (f"each adapter is trained by itself: {why}",)


def test_a_base_that_cannot_be_shared_is_trained_one_adapter_after_the_other(
    task: Task, tmp_path: Path
) -> None:
    own = GPTJConfig(
        vocab_size=toy_bases.COMMON["vocab_size"],
        n_embd=32,
        n_layer=2,
        n_head=2,
        rotary_dim=8,
        n_positions=256,
        bos_token_id=1,
        eos_token_id=2,
    )
    lone = toy_bases.random_base(own, torch.float32)

    def requests(folder: str) -> list[TrialRequest]:
        names = ("lora", "dora")
        return [
            TrialRequest(
                n, PLAIN.replace(variant=name), (), adapter_dir=str(tmp_path / folder / name)
            )
            for n, name in enumerate(names)
        ]

    wanted = run(SequentialTrainer(lone, task, TRAINING), requests("oracle"))
    trainer = PackedTrainer(lone, task, TRAINING, 2)
    found = run(trainer, requests("found"))
    for number in (0, 1):
        same(found[number], wanted[number])
    assert trainer.notes == (
        "each adapter is trained by itself: "
        "gptj does not keep sequences apart that lie end to end",
    )
