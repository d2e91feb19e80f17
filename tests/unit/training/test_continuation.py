"""Prompts that are read part by part lead to what each leads to alone."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from harness.models.base_model import BaseModel
from harness.training import generation as continuation
from harness.training.generation import Continuation

PROMPTS = [(5, 6), (7, 8, 9), (4,), (5, 9, 6, 4, 7, 8, 9), (3, 4, 5, 6), (8, 8, 8)]


def alone(base: BaseModel, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        found: Tensor = base.model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    return found


@pytest.mark.parametrize("at_once", [1, 7, 9, 1000])
def test_parts_lead_to_what_each_prompt_leads_to(
    at_once: int, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "_AT_A_TIME", at_once)
    read: list[int] = []
    with torch.inference_mode():
        going = Continuation(
            base.model, PROMPTS, 3, 0, around=lambda _, width: _noted(read, width)
        )
        rows = [list(prompt) for prompt in PROMPTS]
        for token in (9, 5):
            wanted = torch.stack([alone(base, row) for row in rows])
            torch.testing.assert_close(going.logits(), wanted, rtol=1e-4, atol=1e-5)
            going.add(torch.full((len(rows),), token))
            rows = [[*row, token] for row in rows]
        going.keep(torch.tensor([0, 3, 3]))
        wanted = torch.stack([alone(base, rows[index]) for index in (0, 3, 3)])
        torch.testing.assert_close(going.logits(), wanted, rtol=1e-4, atol=1e-5)
    assert len(read) == {1: 6, 7: 5, 9: 3, 1000: 1}[at_once] + 2


def test_a_part_is_no_wider_than_its_longest_prompt(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "_AT_A_TIME", 6)
    read: list[int] = []
    with torch.inference_mode():
        Continuation(
            base.model, PROMPTS, 1, 0, around=lambda _, width: _noted(read, width)
        ).logits()
    assert read == [3, 1, 7, 4, 3]


def _noted(read: list[int], width: int) -> AbstractContextManager[None]:
    read.append(width)
    return nullcontext()
