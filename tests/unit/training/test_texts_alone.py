"""Language modelling: texts in pieces or sharing rows, none of which sees another."""

from pathlib import Path

import pytest
import torch

from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence, collate, packed
from harness.tasks.task import Task
from harness.training.losses import CompletionLoss, keeps_apart
from harness.training.tokenization import TaskTokens
from tests import toy


@pytest.fixture
def prose(tmp_path: Path) -> Task:
    return toy.load_prose(tmp_path)


def test_rows_are_packed_first_fit_and_lose_nothing() -> None:
    texts = [TokenSequence(tuple(range(n)), 0) for n in (3, 9, 5, 2, 7, 4, 10)]
    rows = packed(texts, 10)
    assert all(len(row.ids) <= 10 for row in rows)
    assert sorted(len(row.ids) for row in rows) == [2, 9, 9, 10, 10]
    pieces = []
    for row in rows:
        for start, end in zip((0, *row.breaks), (*row.breaks, len(row.ids)), strict=True):
            pieces.append(row.ids[start:end])
    assert sorted(map(len, pieces)) == sorted(len(text.ids) for text in texts)
    assert all(piece == tuple(range(len(piece))) for piece in pieces)
    assert rows == packed(texts, 10)


def test_packed_texts_have_the_loss_and_gradient_that_they_have_alone(base: BaseModel) -> None:
    texts = [TokenSequence(tuple(range(10 + n, 10 + n + size)), 0)
             for n, size in enumerate((7, 4, 9, 5, 3))]  # fmt: skip
    rows = packed(texts, 16)
    assert any(row.breaks for row in rows)
    loss = CompletionLoss(base.model)
    weight = base.model.get_input_embeddings().weight
    weight.requires_grad_(True)
    try:
        found = []
        for chosen in (texts, list(rows)):
            batch = collate(chosen, 0, base.device)
            value = loss(batch)
            (gradient,) = torch.autograd.grad(value, weight)
            found.append((value.item(), gradient, batch.targets.numel()))
    finally:
        weight.requires_grad_(False)
    assert found[0][2] == found[1][2] == sum(len(text.ids) - 1 for text in texts)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-4)


def test_a_model_that_would_mix_texts_is_found_out(base: BaseModel) -> None:
    assert keeps_apart(base.model)

    class Mixing(torch.nn.Module):
        config = base.model.config

        def forward(self, input_ids: torch.Tensor, **_: object) -> object:
            return base.model(input_ids=input_ids, use_cache=False)

        def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
            return base.model.parameters(recurse)

    assert not keeps_apart(Mixing())  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", [False, True])
def test_every_token_of_a_text_is_trained_on(base: BaseModel, prose: Task, packing: bool) -> None:
    found = TaskTokens(base, prose, 40, packing).training()
    tokenizer = base.tokenizer
    pieces = []
    for row in found.sequences:
        assert row.start == 0
        assert len(row.ids) <= 40
        for start, end in zip((0, *row.breaks), (*row.breaks, len(row.ids)), strict=True):
            assert row.ids[start] == tokenizer.bos_token_id
            pieces.append(tokenizer.decode(row.ids[start + 1 : end]))
    texts = [example.target for example in prose.examples("train")]
    assert found.cut == sum(len(text) + 2 > 40 for text in texts) > 0
    assert sorted("".join(sorted(pieces))) == sorted("".join(f"{text}</s>" for text in texts))
    assert any(row.breaks for row in found.sequences) is packing


def test_texts_are_scored_whole_behind_the_start(base: BaseModel, prose: Task) -> None:
    found = TaskTokens(base, prose, 8).texts("test")
    for ids, example in zip(found, prose.examples("test"), strict=True):
        assert base.tokenizer.decode(ids) == f"<s>{example.target}"
