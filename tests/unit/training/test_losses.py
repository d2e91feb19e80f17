"""The loss of tags and what a head says, on an encoder that looks to both sides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from harness.config.settings import ModelSettings
from harness.models import base_model, token_classifier
from harness.models.base_model import BaseModel
from harness.models.batches import IGNORED, Batch, TokenSequence, collate
from harness.tasks.task import AnswerMode, Task
from harness.training.losses import CompletionLoss, TaggingLoss, loss_for, predict_tags
from harness.training.tokenization import TokenizedTask
from tests import toy, toy_tags
from tests.toy import llama_config

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHORT: dict[str, PretrainedConfig] = {
    "llama": llama_config(),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=64),
    "opt": OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32),
}
SCALED: dict[str, PretrainedConfig] = {
    # Cohere scales its logits, Gemma 2 squeezes them, both behind the output head.
    "cohere": CohereConfig(**SMALL, intermediate_size=64, logit_scale=0.25),
    "gemma2": Gemma2Config(
        **SMALL, intermediate_size=64, num_key_value_heads=1, head_dim=16,
        final_logit_softcapping=2.0,
    ),
}  # fmt: skip


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(5)
    sequences = []
    for length, start in ((12, 7), (9, 3), (5, 1)):
        ids = torch.randint(3, 60, (length,), generator=generator).tolist()
        sequences.append(TokenSequence(tuple(ids), start))
    return collate(sequences, pad=0, device=torch.device("cpu"))


def hugging_face_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The mean loss with labels of -100, padding masked."""
    labels = torch.full_like(batch.ids, -100)
    labels[:, 1:][batch.rows[:, :-1]] = batch.ids[:, 1:][batch.rows[:, :-1]]
    mask = (batch.ids != 0).long()
    return model(input_ids=batch.ids, attention_mask=mask, labels=labels).loss


@pytest.mark.parametrize("name", [*SHORT, *SCALED])
def test_it_equals_the_models_own_loss_with_masked_labels(name: str, batch: Batch) -> None:
    model = random_model((SHORT | SCALED)[name])
    loss = CompletionLoss(model)(batch) / batch.targets.numel()
    assert loss.item() == pytest.approx(hugging_face_loss(model, batch).item(), rel=1e-5)


@pytest.mark.parametrize("name", [*SHORT, *SCALED])
def test_the_short_way_is_taken_exactly_where_it_is_exact(name: str) -> None:
    assert CompletionLoss(random_model((SHORT | SCALED)[name])).short == (name in SHORT)


def test_gradients_equal_those_of_the_models_own_loss(batch: Batch) -> None:
    model = random_model(SHORT["llama"])
    loss = CompletionLoss(model)
    assert loss.short
    (loss(batch) / batch.targets.numel()).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    hugging_face_loss(model, batch).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_padding_does_not_matter(batch: Batch) -> None:
    model = random_model(SHORT["llama"])
    loss = CompletionLoss(model)
    padded = torch.nn.functional.pad(batch.ids, (0, 9), value=17)
    rows = torch.nn.functional.pad(batch.rows, (0, 9))
    longer = batch._replace(ids=padded, rows=rows)
    torch.testing.assert_close(loss(longer), loss(batch), rtol=1e-5, atol=0.0)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy_tags.load_task(tmp_path_factory.mktemp("tagged"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, task: Task) -> BaseModel:
    folder = toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))
    base = base_model.load(ModelSettings(name=str(folder)), 1, task.type.head)
    token_classifier.init_head(base.model, 3)
    return base


def test_padding_changes_nothing(encoder: BaseModel, task: Task) -> None:
    sequences = TokenizedTask(encoder, task, 64).training().sequences
    assert len({len(sequence.ids) for sequence in sequences}) > 3
    loss = TaggingLoss(encoder.model)
    with torch.no_grad():
        together = loss(collate(sequences, 0, encoder.device))
        separate = sum(loss(collate([sequence], 0, encoder.device)) for sequence in sequences)
        unmasked = loss(collate(sequences, 0, encoder.device)._replace(mask=None))
    torch.testing.assert_close(together, separate)
    assert abs(float(unmasked - separate)) > 1e-3


def test_it_is_the_models_own_loss(encoder: BaseModel, task: Task) -> None:
    sequences = TokenizedTask(encoder, task, 64).training().sequences
    batch = collate(sequences, 0, encoder.device)
    labels = torch.full_like(batch.ids, IGNORED)
    labels[batch.rows] = batch.targets
    with torch.no_grad():
        model_loss = encoder.model(
            input_ids=batch.ids, attention_mask=batch.mask, labels=labels
        ).loss
        loss = TaggingLoss(encoder.model)(batch)
    torch.testing.assert_close(loss / batch.targets.numel(), model_loss)
    assert batch.tokens == sum(len(sequence.ids) for sequence in sequences)
    assert batch.targets.numel() == batch.tokens - 2 * len(sequences)


@pytest.mark.parametrize("length", [64, 12])
def test_each_token_has_its_tag_whatever_runs_beside_it(
    encoder: BaseModel, task: Task, length: int
) -> None:
    texts = TokenizedTask(encoder, task, length).tagged("train")
    assert (max(len(text.parts) for text in texts) > 1) == (length == 12)
    predictions = predict_tags(encoder.model, texts, 0, 64)
    for tags, alone in zip(predictions, predict_tags(encoder.model, texts, 0, 1), strict=True):
        np.testing.assert_allclose(tags, alone, atol=1e-5)
        np.testing.assert_allclose(np.exp(tags).sum(axis=1), 1, atol=1e-5)
    shapes = [(len(text.offsets), len(task.type.head.labels)) for text in texts]
    assert [tags.shape for tags in predictions] == shapes
    if length == 64:
        with torch.no_grad():
            for text, tags in zip(texts, predictions, strict=True):
                ids = torch.tensor([text.parts[0].ids])
                logits = encoder.model(input_ids=ids).logits[0, 1:-1]
                np.testing.assert_allclose(logits.log_softmax(-1), tags, atol=1e-5)


def test_the_task_chooses_the_loss(encoder: BaseModel, task: Task, tmp_path: Path) -> None:
    assert task.type.answers is AnswerMode.TAGGED
    assert isinstance(loss_for(encoder.model, task), TaggingLoss)
    folder = toy.save_model(tmp_path / "model")
    writing = base_model.load(ModelSettings(name=str(folder)), 1)
    assert isinstance(loss_for(writing.model, toy.load_task(tmp_path / "task")), CompletionLoss)
