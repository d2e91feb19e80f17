"""A new head on a base: loaded, drawn, told from a language model's own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForTokenClassification,
    BertForTokenClassification,
    OPTConfig,
    RobertaConfig,
    RobertaModel,
)

from harness.config.settings import TOKEN_CLASSIFICATION, Head, ModelSettings
from harness.errors import UserError
from harness.models import token_classifier
from harness.models.base_model import BaseModel, checksum, load, load_config
from tests import toy, toy_tags

TAGS = ("O", "B-MED", "I-MED")
HEAD = Head(TOKEN_CLASSIFICATION, TAGS)
IDS = torch.tensor([[2, 20, 30, 40, 3]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> BaseModel:
    return load(ModelSettings(name=str(folder)), 1, HEAD)


def refused(name: Path, head: Head = HEAD) -> str:
    with pytest.raises(UserError) as raised:
        load(ModelSettings(name=str(name)), 1, head)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_new_head_is_zero_and_the_same_in_every_process(
    encoder: BaseModel, folder: Path
) -> None:
    head = token_classifier.find_head(encoder.model)
    assert head is not None
    assert head.name == "classifier"
    assert not any(parameter.any() for parameter in head.module.parameters())
    torch.manual_seed(99)
    assert load(ModelSettings(name=str(folder)), 1, HEAD).fingerprint == encoder.fingerprint
    assert token_classifier.labels(encoder.model) == TAGS
    assert token_classifier.task_type(encoder.model) == "TOKEN_CLS"
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


def test_a_causal_model_can_be_given_one(tmp_path: Path) -> None:
    base = load(ModelSettings(name=str(toy.save_model(tmp_path))), 1, HEAD)
    head = token_classifier.find_head(base.model)
    assert head is not None
    assert head.name == "score"
    assert base.model(input_ids=IDS).logits.shape == (1, 5, 3)


def test_a_language_model_has_none(tmp_path: Path) -> None:
    plain = load(ModelSettings(name=str(toy.save_model(tmp_path))), 1)
    assert token_classifier.find_head(plain.model) is None
    assert token_classifier.labels(plain.model) == ()
    assert token_classifier.task_type(plain.model) == "CAUSAL_LM"
    before = checksum(plain.model)
    token_classifier.init_head(plain.model, 1)
    assert checksum(plain.model) == before
    ids = IDS % len(plain.tokenizer)
    with torch.no_grad():
        assert torch.equal(
            token_classifier.probe_output(plain.model, ids), plain.model(input_ids=ids).logits
        )


def test_it_is_drawn_from_its_seed_alone(folder: Path) -> None:
    base = load(ModelSettings(name=str(folder)), 1, HEAD)
    weight = base.model.classifier.weight
    zero_weight, initialised = weight.data, []
    for seed in (5, 5, 6):
        torch.manual_seed(len(initialised))
        expected = torch.rand(2)
        torch.manual_seed(len(initialised))
        token_classifier.init_head(base.model, seed)
        assert torch.equal(torch.rand(2), expected)  # the global generator is left alone
        initialised.append(weight.data.clone())
    assert torch.equal(initialised[0], initialised[1])
    assert not torch.equal(initialised[0], initialised[2])
    assert not zero_weight.any()  # the old weights are still there to be put back
    assert float(initialised[0].std()) == pytest.approx(
        base.model.config.initializer_range, rel=0.3
    )
    assert not base.model.classifier.bias.any()


def test_a_probe_reads_what_the_head_is_given(encoder: BaseModel) -> None:
    head_input = token_classifier.probe_output(encoder.model, IDS)
    with torch.no_grad():
        hidden = encoder.model.bert(input_ids=IDS).last_hidden_state
    assert torch.equal(head_input, hidden)
    assert len(encoder.model.classifier._forward_pre_hooks) == 1  # the probe's own is gone


def test_a_head_in_half_precision_is_kept_in_full(folder: Path) -> None:
    half = load(ModelSettings(name=str(folder), dtype="bfloat16"), 1, HEAD)
    assert half.model.classifier.weight.dtype == torch.float32
    assert half.model.bert.embeddings.word_embeddings.weight.dtype == torch.bfloat16
    token_classifier.init_head(half.model, 1)
    with torch.no_grad():
        assert half.model(input_ids=IDS).logits.dtype == torch.float32
    assert token_classifier.probe_output(half.model, IDS).dtype == torch.bfloat16


def test_the_head_of_another_task_is_replaced(tmp_path: Path, encoder: BaseModel) -> None:
    other_task = BertForTokenClassification(toy_tags.bert_config(num_labels=9))
    other_task.bert.load_state_dict(encoder.model.bert.state_dict())
    other_task.save_pretrained(tmp_path)
    toy_tags.tokenizer().save_pretrained(tmp_path)
    base = load(ModelSettings(name=str(tmp_path)), 1, HEAD)
    assert checksum(base.model) == checksum(encoder.model)
    assert token_classifier.labels(base.model) == TAGS


def test_missing_weights_are_an_error(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    missing = next(name for name in sorted(state) if "layer.1.output.dense.weight" in name)
    del state[missing]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    message = refused(tmp_path)
    assert "1 weights of BertForTokenClassification are missing, such as bert." in message


def test_models_that_cannot_have_one_are_told(tmp_path: Path) -> None:
    config = OPTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, ffn_dim=32)
    config.save_pretrained(tmp_path)
    assert "cannot be given a head for token classification (opt)" in refused(tmp_path)
    (tmp_path / "x.gguf").write_bytes(b"")
    assert "a new head needs a folder, no .gguf file" in refused(tmp_path / "x.gguf")


def test_positions_behind_the_paddings_are_not_counted(tmp_path: Path) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(
        **small, intermediate_size=32, vocab_size=len(toy.tokenizer()), max_position_embeddings=34
    )
    RobertaModel(config).save_pretrained(tmp_path)
    toy.tokenizer().save_pretrained(tmp_path)
    base = load(ModelSettings(name=str(tmp_path)), 1, HEAD)
    assert base.context == 32
    with torch.no_grad():
        assert base.model(input_ids=torch.full((1, 32), 7)).logits.shape == (1, 32, 3)
        with pytest.raises((IndexError, RuntimeError)):
            base.model(input_ids=torch.full((1, 33), 7))


def test_the_configuration_says_what_the_head_says(folder: Path) -> None:
    config = load_config(ModelSettings(name=str(folder)), HEAD)
    assert tuple(config.id2label.values()) == TAGS
    assert config.num_labels == 3
    with torch.device("meta"):
        empty = token_classifier.empty_model(config, HEAD)
    assert isinstance(empty, type(AutoModelForTokenClassification.from_config(config)))
