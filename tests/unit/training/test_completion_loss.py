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

from harness.models.batches import Batch, TokenSequence, collate
from harness.training.losses import CompletionLoss
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
    mine = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    hugging_face_loss(model, batch).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(mine[name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_padding_does_not_matter(batch: Batch) -> None:
    model = random_model(SHORT["llama"])
    loss = CompletionLoss(model)
    padded = torch.nn.functional.pad(batch.ids, (0, 9), value=17)
    rows = torch.nn.functional.pad(batch.rows, (0, 9))
    longer = batch._replace(ids=padded, rows=rows)
    torch.testing.assert_close(loss(longer), loss(batch), rtol=1e-5, atol=0.0)
