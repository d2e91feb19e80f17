from pathlib import Path

import pytest

from harness.config.settings import TOKEN_CLASSIFICATION, Head, ModelSettings, TrainingSettings
from harness.config.variants import VARIANTS
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.models.memory import footprint
from harness.tasks.task import Task
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import toy

#: Numbers of the toy model's linear layers: q, k, v, o, gate, up, down of two layers.
LINEAR = 2 * (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 64)
EMBEDDING = len(toy.tokenizer()) * 32


def test_a_plain_base_takes_what_its_numbers_take(base: BaseModel) -> None:
    found = footprint(base.model)
    assert found.linear == 4 * LINEAR
    assert found.linear_in_bfloat16 == 2 * LINEAR
    norms = 5 * 32
    assert 4 * (EMBEDDING + norms) <= found.rest <= 4 * (EMBEDDING + norms) + 200


def test_a_new_head_is_no_linear_layer_of_the_base(model_folder: Path) -> None:
    head = Head(TOKEN_CLASSIFICATION, ("O", "B-MED", "I-MED"))
    found = footprint(base_model.load(ModelSettings(name=str(model_folder)), 1, head).model)
    assert found.linear == 4 * LINEAR
    assert found.rest >= 4 * (EMBEDDING + 5 * 32 + 3 * 32 + 3)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
@pytest.mark.parametrize(("quantization", "bytes_each"), [("nf4", 0.5), ("int8", 1.0)])
def test_a_quantised_base_takes_codes_and_scales(
    model_folder: Path, quantization: str, bytes_each: float
) -> None:
    small = base_model.load(ModelSettings(name=str(model_folder), quantization=quantization))
    found = footprint(small.model)
    # Scales of such small layers weigh more than those of a real model.
    assert bytes_each * LINEAR < found.linear < 2 * bytes_each * LINEAR + 14 * 1200
    assert found.linear_in_bfloat16 == 2 * LINEAR
    assert found.rest >= 4 * EMBEDDING


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
@pytest.mark.parametrize(
    ("quantization", "variant"),
    [(base, name) for name, variant in VARIANTS for base in variant.bases if base != "none"],
)
def test_variants_train_on_quantised_weights_and_prove_them(
    model_folder: Path, task: Task, quantization: str, variant: str
) -> None:
    small = base_model.load(ModelSettings(name=str(model_folder), quantization=quantization))
    training = TrainingSettings(steps=6, batch_size=4, max_length=200)
    trainer = SequentialTrainer(small, task, training)
    config = TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 7)
    requests = iter([TrialRequest(0, config, splits=())])
    (result,) = trainer.train(requests, lambda _number, _reading: True)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs[-1] == "quantised"
