"""The plain engine on a task whose entities are tagged by a new head, on an encoder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForTokenClassification

from harness.adapters import attach
from harness.config.settings import ModelSettings, TrainingSettings
from harness.config.variants import VARIANTS, Variant
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.registry import Registry
from harness.tasks.task import Task, load_task
from harness.training import evaluation
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialRequest, TrialResult
from tests import toy, toy_tags
from tests.integration.training.contract import config, go_on

# PEFT asks Transformers by the old name of a property.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
]

TAGS = ("O", "B-MED", "I-MED", "B-DOSE", "I-DOSE")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy_tags.load_task(tmp_path_factory.mktemp("tagged"))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def base(model_folder: Path, task: Task) -> BaseModel:
    return base_model.load(ModelSettings(name=str(model_folder)), 1, task.type.head)


def train(base: BaseModel, task: Task, request: TrialRequest, **settings: object) -> TrialResult:
    training = TrainingSettings(**({"epochs": 30, "batch_size": 4, "warmup": 0.1} | settings))
    (result,) = SequentialTrainer(base, task, training).train(iter([request]), go_on)
    return result


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora", "lora_plus", "pissa"])
def test_a_variant_learns_and_what_is_saved_is_what_was_scored(
    variant: str, base: BaseModel, task: Task, model_folder: Path, tmp_path: Path
) -> None:
    before, bare = checksum(base.model), evaluation.score(base, task, "train")
    assert bare.values["entity_f1"] == 0.0  # a head that nobody has drawn says nothing
    rate = 2e-3 if variant in {"lora_plus", "rslora"} else 1e-2
    wanted = config(variant, learning_rate=rate)
    request = TrialRequest(0, wanted, splits=("train",), adapter_dir=str(tmp_path / "it"))
    result = train(base, task, request)
    assert checksum(base.model) == before
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs == (*VARIANTS.get(variant).proofs, "head_trained")
    scores = result.scores["train"]
    assert scores.values["entity_f1"] > 0.9
    fresh = AutoModelForTokenClassification.from_pretrained(model_folder, num_labels=len(TAGS))
    loaded = PeftModel.from_pretrained(fresh, str(result.adapter)).eval()
    again = BaseModel(base.name, loaded.to(base.device), base.tokenizer, base.device, "")
    assert evaluation.score(again, task, "train").predictions == scores.predictions


def test_offsets_are_exact_and_stored(base: BaseModel, task: Task) -> None:
    result = train(base, task, TrialRequest(0, config(), splits=("train",)))
    scores = result.scores["train"]
    assert scores.values["entity_f1"] == scores.values["span_f1_strict"] == 1.0
    for example, text in zip(task.examples("train"), scores.predictions, strict=True):
        spans = task.parse(text).prediction
        assert sorted(spans) == sorted(example.row.entities)
        assert all(example.text[one.start : one.end] == one.text for one in spans)
    # What is stored gives the score again.
    rows = [
        task.score(task.parse(text).prediction, example)
        for example, text in zip(task.examples("train"), scores.predictions, strict=True)
    ]
    assert task.values(rows)["entity_f1"] == 1.0


def test_a_trial_of_all_weights_learns_too_and_is_saved_as_a_model(
    base: BaseModel, task: Task, tmp_path: Path
) -> None:
    before = checksum(base.model)
    request = TrialRequest(
        0, config("full", learning_rate=3e-3), splits=("train",), adapter_dir=str(tmp_path / "it")
    )
    result = train(base, task, request)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert result.proofs == ("all_trained", "head_trained")
    assert result.scores["train"].values["entity_f1"] > 0.9
    assert checksum(base.model) == before
    loaded = AutoModelForTokenClassification.from_pretrained(tmp_path / "it").eval()
    assert tuple(loaded.config.id2label.values()) == TAGS
    again = BaseModel(base.name, loaded.to(base.device), base.tokenizer, base.device, "")
    found = evaluation.score(again, task, "train").predictions
    assert found == result.scores["train"].predictions


def test_a_saved_adapter_says_what_its_head_says(
    base: BaseModel, task: Task, tmp_path: Path
) -> None:
    request = TrialRequest(0, config(), splits=(), adapter_dir=str(tmp_path / "it"))
    folder = Path(str(train(base, task, request, epochs=1).adapter))
    assert tuple(json.loads((folder / "labels.json").read_text())) == TAGS
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert saved["task_type"] == "TOKEN_CLS"
    assert "classifier" in saved["modules_to_save"]


@pytest.mark.parametrize("training", [{"schedule": "constant"}, {"micro_batch_size": 2}])
def test_seeds_decide_and_nothing_else(
    base: BaseModel, task: Task, training: dict[str, object]
) -> None:
    def losses(seed: int) -> list[float]:
        request = TrialRequest(0, config(seed=seed), splits=())
        return [one.loss for one in train(base, task, request, epochs=2, **training).measurements]

    torch.manual_seed(1)
    first = losses(3)
    torch.manual_seed(2)
    assert losses(3) == first
    assert losses(4) != first


@pytest.mark.parametrize("factor", ["gradient_checkpointing=on", "compute_dtype=bfloat16"])
def test_settings_beside_the_six_work_with_a_head(
    base: BaseModel, task: Task, factor: str
) -> None:
    name, level = factor.split("=")
    plain = TrialRequest(0, config(), splits=())
    other = TrialRequest(0, config().with_level(name, level), splits=())
    usual, found = (train(base, task, one, epochs=4) for one in (plain, other))
    assert (found.outcome, found.error) == (Outcome.COMPLETE, None)
    near = [one.loss for one in usual.measurements]
    assert [one.loss for one in found.measurements] == pytest.approx(near, rel=0.05)


def test_all_biases_may_be_trained_beside_a_head(base: BaseModel, task: Task) -> None:
    before = checksum(base.model)
    plain = train(base, task, TrialRequest(0, config(), splits=()), epochs=4)
    every = train(
        base, task, TrialRequest(0, config().with_level("bias", "all"), splits=()), epochs=4
    )
    assert (every.outcome, every.error) == (Outcome.COMPLETE, None)
    # The head's own bias counts once: it is trained whole either way.
    biases = [n for n, _ in base.model.named_parameters() if n.endswith("bias")]
    sizes = sum(base.model.get_parameter(n).numel() for n in biases if "classifier" not in n)
    assert every.cost.parameters == plain.cost.parameters + sizes
    assert checksum(base.model) == before


def test_a_start_that_is_none_is_found_out_whatever_the_head(base: BaseModel, task: Task) -> None:
    false: Registry[Variant] = Registry("variant")
    false.add("lora", replace(VARIANTS.get("lora"), peft={"init_lora_weights": False}))
    training = TrainingSettings(steps=2, batch_size=4)
    trainer = SequentialTrainer(base, task, training, false)
    (result,) = trainer.train(iter([TrialRequest(0, config(), splits=())]), go_on)
    assert "the head's input differs from the base model's at the start" in (result.error or "")


def test_a_head_that_is_not_trained_is_found_out(
    base: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = attach.Adapter._wrap

    def wrap(self: attach.Adapter, given: object) -> None:
        real(self, given)
        self.base.classifier.requires_grad_(False)

    monkeypatch.setattr(attach.Adapter, "_wrap", wrap)
    result = train(base, task, TrialRequest(0, config(), splits=()), steps=2, epochs=None)
    assert "the head is not trained" in (result.error or "")


def test_a_causal_model_can_be_given_a_head(task: Task, tmp_path: Path) -> None:
    folder = toy.save_model(tmp_path / "llama")
    base = base_model.load(ModelSettings(name=str(folder)), 1, task.type.head)
    request = TrialRequest(0, config(), splits=("train",), adapter_dir=str(tmp_path / "it"))
    result = train(base, task, request)
    assert result.scores["train"].values["span_f1_strict"] > 0.9
    fresh = AutoModelForTokenClassification.from_pretrained(folder, num_labels=len(TAGS))
    loaded = PeftModel.from_pretrained(fresh, str(result.adapter)).eval()
    again = BaseModel(base.name, loaded.to(base.device), base.tokenizer, base.device, "")
    found = evaluation.score(again, task, "train").predictions
    assert found == result.scores["train"].predictions


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_a_head_on_a_quantised_base_stays_whole(task: Task, model_folder: Path) -> None:
    settings = ModelSettings(name=str(model_folder), quantization="nf4")
    base = base_model.load(settings, 1, task.type.head)
    assert type(base.model.classifier) is torch.nn.Linear
    result = train(base, task, TrialRequest(0, config("dora"), splits=("train",)))
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    assert {"quantised", "head_trained"} <= set(result.proofs)
    assert result.scores["train"].values["entity_f1"] > 0.9


def test_long_notes_are_tagged_whole(base: BaseModel, tmp_path: Path) -> None:
    """One text of many windows: entities beyond the first are found, cut ones are not two."""
    folder = toy_tags.save_task(tmp_path / "long")
    notes = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    text, entities = "", []
    for note in notes * 4:
        start = len(text)
        text += note["text"] + " "
        for one in note["entities"]:
            span = {"start": one["start"] + start, "end": one["end"] + start}
            entities.append({**span, "label": one["label"]})
    row = json.dumps({"id": "long", "text": text, "entities": entities})
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text(row, encoding="utf-8")
    task = load_task(f"{folder}/")
    request = TrialRequest(0, config(), splits=("validation",))
    training = TrainingSettings(epochs=40, batch_size=4, max_length=24)
    trainer = SequentialTrainer(base, task, training)
    (note,) = trainer.notes
    assert note.startswith("1 training texts were cut into windows of 24 tokens")
    (result,) = trainer.train(iter([request]), go_on)
    found = set(task.parse(result.scores["validation"].predictions[0]).prediction)
    wanted = set(task.examples("validation")[0].row.entities)
    # An entity that is cut would come back as two: all but a few are found, none in pieces.
    assert len(found & wanted) > 0.9 * len(wanted)
    assert len(found) <= 1.05 * len(wanted)
