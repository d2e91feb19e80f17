import pytest
import torch
from transformers import AutoModelForCausalLM

from harness.adapters import attach
from harness.adapters.methods.full import why_untrainable
from harness.config.settings import ModelSettings
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task
from harness.trial import Outcome, TrialConfig
from tests.unit.adapters.test_proofs import train

WANTED = TrialConfig("full", 1, 1.0, 0.0, "all_linear", 1e-3, 7)


def test_every_weight_is_trained_and_the_base_stays_as_it_was(base: BaseModel, task: Task) -> None:
    result = train(base, task, "full")
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs == ("all_trained",)
    assert result.cost.parameters == sum(weight.numel() for weight in base.model.parameters())
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_its_parameters_are_counted_without_weights(base: BaseModel, model_folder: object) -> None:
    settings = ModelSettings(name=str(model_folder))
    total = sum(weight.numel() for weight in base.model.parameters())
    assert attach.count_parameters(settings, WANTED) == total


def test_it_is_saved_as_a_model(base: BaseModel, tmp_path: object) -> None:
    before = checksum(base.model)
    with attach.attached_adapter(base, WANTED) as adapter, torch.no_grad():
        for weight in base.model.parameters():
            weight += 0.01
        ids = torch.tensor([[1, 20, 30]])
        trained = base.model(input_ids=ids).logits
        folder = attach.save_adapter(adapter, f"{tmp_path}/model")
        loaded = AutoModelForCausalLM.from_pretrained(folder)
        torch.testing.assert_close(loaded(input_ids=ids).logits, trained)
    assert checksum(base.model) == before


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_why_it_cannot_be_done_is_told(base: BaseModel, model_folder: object) -> None:
    assert why_untrainable(base.model) == ""
    assert "GiB more a worker" in why_untrainable(base.model, 1000)
    half = base_model.load(ModelSettings(name=str(model_folder), dtype="bfloat16"))
    assert why_untrainable(half.model) == "its weights have to be float32 (model.dtype)"
    coded = base_model.load(ModelSettings(name=str(model_folder), quantization="nf4"))
    assert "quantised" in why_untrainable(coded.model)
