"""The loss of tags and what a head says, on an encoder that looks to both sides."""

from pathlib import Path

import numpy as np
import pytest
import torch

from harness.config.settings import ModelSettings
from harness.models import base_model
from harness.models import token_classifier as token_head
from harness.models.base_model import BaseModel
from harness.models.batches import IGNORED, collate
from harness.tasks.task import Answers, Task
from harness.training.losses import CompletionLoss, TaggingLoss, loss_of, said
from harness.training.tokenization import TaskTokens
from tests import toy, toy_tags


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy_tags.load_task(tmp_path_factory.mktemp("tagged"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, task: Task) -> BaseModel:
    folder = toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))
    found = base_model.load(ModelSettings(name=str(folder)), 1, task.kind.head)
    token_head.draw(found.model, 3)
    return found


def test_padding_changes_nothing(encoder: BaseModel, task: Task) -> None:
    sequences = TaskTokens(encoder, task, 64).training().sequences
    assert len({len(one.ids) for one in sequences}) > 3
    loss = TaggingLoss(encoder.model)
    with torch.no_grad():
        together = loss(collate(sequences, 0, encoder.device))
        apart = sum(loss(collate([one], 0, encoder.device)) for one in sequences)
        unmasked = loss(collate(sequences, 0, encoder.device)._replace(mask=None))
    torch.testing.assert_close(together, apart)
    assert abs(float(unmasked - apart)) > 1e-3


def test_it_is_the_models_own_loss(encoder: BaseModel, task: Task) -> None:
    sequences = TaskTokens(encoder, task, 64).training().sequences
    batch = collate(sequences, 0, encoder.device)
    labels = torch.full_like(batch.ids, IGNORED)
    labels[batch.rows] = batch.targets
    with torch.no_grad():
        own = encoder.model(input_ids=batch.ids, attention_mask=batch.mask, labels=labels).loss
        found = TaggingLoss(encoder.model)(batch)
    torch.testing.assert_close(found / batch.targets.numel(), own)
    assert batch.tokens == sum(len(one.ids) for one in sequences)
    assert batch.targets.numel() == batch.tokens - 2 * len(sequences)


@pytest.mark.parametrize("length", [64, 12])
def test_each_token_has_its_tag_whatever_runs_beside_it(
    encoder: BaseModel, task: Task, length: int
) -> None:
    texts = TaskTokens(encoder, task, length).tagged("train")
    assert (max(len(text.parts) for text in texts) > 1) == (length == 12)
    found = said(encoder.model, texts, 0, 64)
    for tags, alone in zip(found, said(encoder.model, texts, 0, 1), strict=True):
        np.testing.assert_allclose(tags, alone, atol=1e-5)
        np.testing.assert_allclose(np.exp(tags).sum(axis=1), 1, atol=1e-5)
    wanted = [(len(text.places), len(task.kind.head.labels)) for text in texts]
    assert [tags.shape for tags in found] == wanted
    if length == 64:
        with torch.no_grad():
            for text, tags in zip(texts, found, strict=True):
                ids = torch.tensor([text.parts[0].ids])
                logits = encoder.model(input_ids=ids).logits[0, 1:-1]
                np.testing.assert_allclose(logits.log_softmax(-1), tags, atol=1e-5)


def test_the_task_chooses_the_loss(encoder: BaseModel, task: Task, tmp_path: Path) -> None:
    assert task.kind.answers is Answers.TAGGED
    assert isinstance(loss_of(encoder.model, task), TaggingLoss)
    folder = toy.save_model(tmp_path / "model")
    writing = base_model.load(ModelSettings(name=str(folder)), 1)
    assert isinstance(loss_of(writing.model, toy.load_task(tmp_path / "task")), CompletionLoss)
