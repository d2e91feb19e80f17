"""Prompts that are read part by part lead to what each leads to alone."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from harness.models.base_model import BaseModel
from harness.training import generation
from harness.training.generation import BatchDecoder, greedy_decode
from tests.toy import llama_config

PROMPTS = [(5, 6), (7, 8, 9), (4,), (5, 9, 6, 4, 7, 8, 9), (3, 4, 5, 6), (8, 8, 8)]


def alone(base: BaseModel, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = base.model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    return logits


@pytest.mark.parametrize("at_once", [1, 7, 9, 1000])
def test_parts_lead_to_what_each_prompt_leads_to(
    at_once: int, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_PREFILL_TOKENS", at_once)
    read: list[int] = []
    with torch.inference_mode():
        decoder = BatchDecoder(
            base.model, PROMPTS, 3, 0, forward_context=lambda _, width: _noted(read, width)
        )
        rows = [list(prompt) for prompt in PROMPTS]
        for token in (9, 5):
            expected = torch.stack([alone(base, row) for row in rows])
            torch.testing.assert_close(decoder.logits(), expected, rtol=1e-4, atol=1e-5)
            decoder.append(torch.full((len(rows),), token))
            rows = [[*row, token] for row in rows]
        decoder.select_rows(torch.tensor([0, 3, 3]))
        expected = torch.stack([alone(base, rows[index]) for index in (0, 3, 3)])
        torch.testing.assert_close(decoder.logits(), expected, rtol=1e-4, atol=1e-5)
    assert len(read) == {1: 6, 7: 5, 9: 3, 1000: 1}[at_once] + 2


def test_a_part_is_no_wider_than_its_longest_prompt(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "_PREFILL_TOKENS", 6)
    read: list[int] = []
    with torch.inference_mode():
        BatchDecoder(
            base.model, PROMPTS, 1, 0, forward_context=lambda _, width: _noted(read, width)
        ).logits()
    assert read == [3, 1, 7, 4, 3]


def _noted(read: list[int], width: int) -> AbstractContextManager[None]:
    read.append(width)
    return nullcontext()


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": llama_config(vocab_size=64, initializer_range=0.3),
    "gpt2": GPT2Config(
        n_embd=32, n_layer=2, n_head=2, vocab_size=64, initializer_range=0.3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=64),
    "opt": OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32),
    "bloom": BloomConfig(
        hidden_size=32, n_layer=2, n_head=2, vocab_size=64, initializer_range=0.3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "sliding": MistralConfig(
        **SMALL, intermediate_size=64, num_key_value_heads=1, sliding_window=8
    ),
}  # fmt: skip
NEW = 20


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    lengths = (3, 17, 9, 9, 4, 12, 1, 8)
    return [torch.randint(3, 64, (n,), generator=generator).tolist() for n in lengths]


def hugging_face(
    model: PreTrainedModel, prompts: list[list[int]], stop: set[int]
) -> list[list[int]]:
    """What `generate` writes for one batch, cut at the first stop token."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=sorted(stop),
    )
    answers = []
    for row in out[:, longest:].tolist():
        end = next((index for index, token in enumerate(row) if token in stop), len(row))
        answers.append(row[:end])
    return answers


@pytest.mark.parametrize("stop", [{63}, {2, 5, 9, 11, 20, 33, 41, 50, 60}])
def test_it_writes_what_generate_writes(
    model: PreTrainedModel, prompts: list[list[int]], stop: set[int]
) -> None:
    answers = greedy_decode(model, prompts, NEW, stop, pad=0, batch_size=len(prompts))
    assert answers == hugging_face(model, prompts, stop)
    assert any(answers)


def test_small_batches_write_the_same(model: PreTrainedModel, prompts: list[list[int]]) -> None:
    one_batch = greedy_decode(model, prompts, NEW, {2, 5, 9}, pad=0, batch_size=8)
    for size in (1, 3):
        assert greedy_decode(model, prompts, NEW, {2, 5, 9}, pad=0, batch_size=size) == one_batch


def test_rows_that_have_ended_leave_the_batch(prompts: list[list[int]]) -> None:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"]).eval()
    free = greedy_decode(model, prompts, NEW, (), pad=0, batch_size=8)
    assert all(len(answer) == NEW for answer in free)
    # Tokens that end some rows early and others late.
    stop = {answer[3] for answer in free[:4]}
    sizes: list[int] = []
    model.register_forward_pre_hook(
        lambda *call: sizes.append(call[2]["input_ids"].shape[0]), with_kwargs=True
    )
    short = greedy_decode(model, prompts, NEW, stop, pad=0, batch_size=8)
    assert sizes[0] == 8
    assert sizes[-1] < 8
    assert sizes == sorted(sizes, reverse=True)
    for answer, full_answer in zip(short, free, strict=True):
        end = next((i for i, token in enumerate(full_answer) if token in stop), NEW)
        assert answer == full_answer[:end]


def test_answers_come_in_the_order_of_the_prompts(model: PreTrainedModel) -> None:
    prompts = [[5, 6, 7, 8], [9], [10, 11]]
    forth = greedy_decode(model, prompts, 6, (), pad=0, batch_size=2)
    back = greedy_decode(model, prompts[::-1], 6, (), pad=0, batch_size=2)
    assert forth == back[::-1]


def test_no_prompts_give_no_answers(model: PreTrainedModel) -> None:
    assert greedy_decode(model, [], NEW, (), pad=0, batch_size=4) == []


def test_rows_of_one_adapter_stay_side_by_side(prompts: list[list[int]]) -> None:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"]).eval()
    calls: list[tuple[list[int], int]] = []

    @contextmanager
    def record_calls(adapters: Sequence[int], width: int) -> Iterator[None]:
        calls.append((list(adapters), width))
        yield

    unstopped = greedy_decode(model, prompts, NEW, (), pad=0, batch_size=8)
    stop = {answer[3] for answer in unstopped[:4]}
    expected = greedy_decode(model, prompts, NEW, stop, pad=0, batch_size=8)
    answers = greedy_decode(model, prompts * 2, NEW, stop, 0, 6, [4] * 8 + [2] * 8, record_calls)
    assert answers == expected * 2
    assert {len(adapters) for adapters, _ in calls} >= {6, 4}
    assert all(adapters == sorted(adapters) for adapters, _ in calls)
    assert {adapter for adapters, _ in calls for adapter in adapters} == {2, 4}
    longest = sorted(map(len, prompts * 2))
    assert [width for _, width in calls if width > 1] == [longest[5], longest[11], longest[15]]
