import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BertConfig, BertModel, LlamaForCausalLM

from harness import embedded
from harness.config.settings import ModelSettings
from harness.errors import UserError
from harness.models.base_model import (
    BaseModel,
    checksum,
    fingerprint,
    load,
    load_config,
    quick_checksum,
    resolve_model,
)
from tests import toy
from tests.toy import llama_config


def refused(name: object, **settings: object) -> str:
    with pytest.raises(UserError) as raised:
        load(ModelSettings(name=str(name), **settings))
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("model")
    return message


def test_a_loaded_base_is_frozen(base: BaseModel) -> None:
    assert not base.model.training
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    assert base.fingerprint == fingerprint(base.model, base.tokenizer)
    assert base.context == 256
    assert {p.dtype for p in base.model.parameters()} == {torch.float32}


def test_equal_folders_have_equal_fingerprints(base: BaseModel, tmp_path: Path) -> None:
    again = load(ModelSettings(name=str(toy.save_model(tmp_path / "a"))))
    other_weights = load(ModelSettings(name=str(toy.save_model(tmp_path / "b", seed=1))))
    assert again.fingerprint == base.fingerprint
    assert other_weights.fingerprint != base.fingerprint


def test_a_tokenizer_that_adds_no_start_token_makes_another_base(
    base: BaseModel, tmp_path: Path
) -> None:
    folder = toy.save_model(tmp_path)
    toy.tokenizer(marks_start=False).save_pretrained(folder)
    without_start = load(ModelSettings(name=str(folder)))
    assert checksum(without_start.model) == checksum(base.model)
    assert without_start.fingerprint != base.fingerprint


def test_precision_is_as_asked(model_folder: Path) -> None:
    half = load(ModelSettings(name=str(model_folder), dtype="bfloat16"))
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_a_quantised_base_is_smaller_and_frozen(model_folder: Path, quantization: str) -> None:
    small = load(ModelSettings(name=str(model_folder), quantization=quantization))
    projection = small.model.model.layers[0].mlp.up_proj
    assert type(projection).__name__ in {"Linear4bit", "Linear8bitLt"}
    assert projection.weight.element_size() == 1
    assert not any(parameter.requires_grad for parameter in small.model.parameters())
    assert small.fingerprint == fingerprint(small.model, small.tokenizer)


@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on
def test_four_bits_stay_as_they_are_whatever_the_processor(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With AVX512-BF16 bitsandbytes would lay weights out anew when scoring, past gradients."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    model = load(ModelSettings(name=str(model_folder), quantization="nf4")).model
    before, ids = checksum(model), torch.tensor([[1, 40, 41, 42]])
    with torch.inference_mode():
        scored = model(input_ids=ids).logits
    assert checksum(model) == before
    entry = model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = model(inputs_embeds=entry).logits
    torch.testing.assert_close(logits.detach(), scored, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(logits.square().sum(), entry)
    assert gradient.abs().max() > 0


def test_the_threads_are_set(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    load(ModelSettings(name=str(model_folder)), threads=3)
    load(ModelSettings(name=str(model_folder)))
    assert threads == [3]


@pytest.mark.parametrize("missing", ["pad", "pad and eos"])
def test_a_pad_token_is_chosen_without_a_new_embedding(tmp_path: Path, missing: str) -> None:
    folder = toy.save_model(tmp_path)
    tokenizer = toy.tokenizer()
    tokenizer.pad_token = None
    if missing == "pad and eos":
        tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    base = load(ModelSettings(name=str(folder)))
    assert base.tokenizer.pad_token == ("</s>" if missing == "pad" else "<s>")
    rows = base.model.get_input_embeddings().weight.shape[0]
    assert len(base.tokenizer) == rows == len(toy.tokenizer())


def test_builtin_names_lead_to_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "names", lambda: ("tiny",))
    monkeypatch.setattr(embedded, "path", lambda name: tmp_path / name)
    source = resolve_model(ModelSettings(name="builtin:tiny"))
    assert source == (str(tmp_path / "tiny"), {}, True)
    assert "no embedded model 'tinny'; did you mean 'tiny'?" in refused("builtin:tinny")


def test_a_hub_id_keeps_its_revision() -> None:
    source = resolve_model(ModelSettings(name="owner/name", revision="abc"))
    assert source == ("owner/name", {"revision": "abc"}, False)


def test_a_gguf_file_is_named_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"")
    source = resolve_model(ModelSettings(name=str(tmp_path / "x.gguf")))
    assert source == (str(tmp_path), {"gguf_file": "x.gguf"}, True)
    assert "no such GGUF file" in refused(tmp_path / "y.gguf")
    assert "cannot be loaded" in refused(tmp_path / "x.gguf")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "no such folder" in refused("./nowhere")
    assert "no such folder" in refused("nowhere")
    assert "no config.json in this folder" in refused(tmp_path)


def test_a_hub_out_of_reach_is_told() -> None:
    message = refused("nobody/no-such-model")
    assert "neither a local folder nor available from the model hub" in message


def test_a_model_without_tokenizer_is_told(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "no tokenizer in this folder" in refused(folder)


def test_a_model_without_weights_is_told(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").unlink()
    assert "cannot be loaded" in refused(folder)
    # A configuration is all that counting parameters needs.
    assert load_config(ModelSettings(name=str(folder))).hidden_size == 32


def test_an_encoder_is_no_causal_language_model(tmp_path: Path) -> None:
    small = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertModel(small).save_pretrained(tmp_path)
    toy.tokenizer().save_pretrained(tmp_path)
    assert "is not a causal language model (BertModel)" in refused(tmp_path)


@pytest.mark.parametrize("body", ["{", json.dumps({"model_type": "llamma"}), "{}"])
def test_a_broken_configuration_is_told(tmp_path: Path, body: str) -> None:
    (tmp_path / "config.json").write_text(body)
    refused(tmp_path)


def test_memory_that_runs_out_is_told_with_a_way_out(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    assert "not enough memory; try quantization: nf4" in refused(model_folder)


@pytest.fixture
def model(base: BaseModel) -> nn.Module:
    return copy.deepcopy(base.model)


@pytest.mark.parametrize("take", [checksum, quick_checksum])
def test_equal_weights_have_equal_checksums(take, base: BaseModel, model: nn.Module) -> None:
    assert take(base.model) == take(model)


def test_the_full_checksum_sees_one_bit_of_one_number(model: nn.Module) -> None:
    before = checksum(model)
    weight = model.model.layers[1].mlp.up_proj.weight.data
    weight[17, 3] = torch.nextafter(weight[17, 3], torch.tensor(9.0))
    assert checksum(model) != before


def test_both_see_an_update_of_low_rank_in_any_matrix(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        full, quick = checksum(model), quick_checksum(model)
        out, into = parameter.shape
        parameter.data += 1e-3 * torch.ones(out, 1) @ torch.ones(1, into)
        assert checksum(model) != full, name
        assert quick_checksum(model) != quick, name


def test_both_see_another_type_or_another_name(model: nn.Module) -> None:
    full, quick = checksum(model), quick_checksum(model)
    model.to(torch.bfloat16)
    assert checksum(model) != full
    assert quick_checksum(model) != quick
    wrapped = nn.ModuleDict({"inner": LlamaForCausalLM(llama_config())})
    assert checksum(wrapped) != checksum(wrapped["inner"])
    assert quick_checksum(wrapped) != quick_checksum(wrapped["inner"])
