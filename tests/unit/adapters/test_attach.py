"""Attached, saved, merged and counted adapters of every variant, without and with a new head."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    GPT2Config,
)

from harness.adapters import attach
from harness.adapters.adapter import Adapter, InitContext, merged
from harness.config.settings import TOKEN_CLASSIFICATION, Head, ModelSettings
from harness.config.variants import VARIANTS
from harness.errors import UserError
from harness.models import base_model, token_classifier
from harness.models.base_model import BaseModel, checksum, quick_checksum
from harness.models.batches import TokenSequence
from harness.trial import TrialConfig
from tests import toy, toy_tags

IDS = torch.tensor([[1, 20, 30, 40, 50, 60, 70]])


def config(variant: str = "lora", **changes: object) -> TrialConfig:
    plain = TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 1e-3, 7)
    return plain.replace(**changes)


#: What EVA looks at, and a number of steps that AdaLoRA can move ranks in.
SEQUENCES = tuple(
    TokenSequence(tuple((start + 7 * step) % 250 + 3 for step in range(40)), 20)
    for start in range(0, 96, 3)
)
CONTEXT = InitContext(20, SEQUENCES, 0)


def attached(base: BaseModel, trial_config: TrialConfig) -> AbstractContextManager[Adapter]:
    return attach.attached_adapter(base, trial_config, context=CONTEXT)


def stir(base: BaseModel) -> None:
    """Changes every trainable weight, as training would."""
    generator = torch.Generator().manual_seed(1)
    for parameter in base.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def logits(base: BaseModel) -> torch.Tensor:
    with torch.no_grad():
        return base.model(input_ids=IDS).logits


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT's
@pytest.mark.parametrize("variant", VARIANTS.names())
class TestEveryVariant:
    def test_it_starts_as_the_base_and_leaves_it_as_it_was(
        self, variant: str, base: BaseModel
    ) -> None:
        full, quick, before = checksum(base.model), quick_checksum(base.model), logits(base)
        names = [name for name, _ in base.model.named_modules()]
        with attached(base, config(variant)):
            same = torch.allclose(logits(base), before, rtol=1e-4, atol=1e-4)
            assert same == ("starts_as_base" in VARIANTS.get(variant).proofs)
            stir(base)
            assert not torch.allclose(logits(base), before, atol=1e-2)
        assert (checksum(base.model), quick_checksum(base.model)) == (full, quick)
        assert torch.equal(logits(base), before)
        assert [name for name, _ in base.model.named_modules()] == names
        assert not any(parameter.requires_grad for parameter in base.model.parameters())

    def test_a_saved_adapter_gives_equal_logits_when_loaded(
        self, variant: str, base: BaseModel, model_folder: Path, tmp_path: Path
    ) -> None:
        with attached(base, config(variant)) as adapter:
            stir(base)
            folder = attach.save_adapter(adapter, tmp_path / "deep" / "0007")
            trained = logits(base)
        assert {file.name for file in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        # LoftQ's base is another one, which lies beside its adapters.
        other_folders = [file for file in folder.parent.iterdir() if file != folder]
        assert len(other_folders) == (variant == "loftq")
        fresh = AutoModelForCausalLM.from_pretrained(
            other_folders[0] if other_folders else model_folder
        )
        loaded = PeftModel.from_pretrained(fresh, str(folder)).eval()
        with torch.no_grad():
            reloaded = loaded(input_ids=IDS).logits
        torch.testing.assert_close(reloaded, trained, rtol=1e-5, atol=1e-5)

    def test_merged_it_writes_the_same_and_the_base_is_untouched(
        self, variant: str, base: BaseModel
    ) -> None:
        with attached(base, config(variant)):
            stir(base)
            frozen = {
                name: (parameter.data_ptr(), parameter.detach().clone())
                for name, parameter in base.model.named_parameters()
            }
            unmerged = logits(base)
            with merged(base.model):
                layers = [m for m in base.model.modules() if isinstance(m, BaseTunerLayer)]
                assert all(layer.merged for layer in layers)
                torch.testing.assert_close(logits(base), unmerged, rtol=1e-4, atol=1e-4)
            assert torch.equal(logits(base), unmerged)
            for name, parameter in base.model.named_parameters():
                pointer, value = frozen[name]
                assert parameter.data_ptr() == pointer, name
                assert torch.equal(parameter, value), name

    def test_parameters_are_counted_without_weights(
        self, variant: str, base: BaseModel, model_folder: Path
    ) -> None:
        for rank, targets in ((2, "q"), (4, "all_linear"), (16, "mlp")):
            trial_config = config(variant, rank=rank, target_modules=targets)
            with attached(base, trial_config):
                trainable = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
            counted = attach.count_parameters(ModelSettings(name=str(model_folder)), trial_config)
            assert counted == trainable
            assert attach.count_parameters(base.model, trial_config) == trainable


def test_the_count_of_plain_lora_is_rank_times_both_widths(base: BaseModel) -> None:
    # q and v of two layers: 32 -> 32 and 32 -> 16.
    count = attach.count_parameters(base.model, config(target_modules="qv", rank=3))
    assert count == 2 * 3 * ((32 + 32) + (32 + 16))


def test_the_skeleton_has_no_weights_and_is_made_once(model_folder: Path) -> None:
    settings = ModelSettings(name=str(model_folder))
    skeleton = attach.empty_base_model(settings)
    assert {parameter.device.type for parameter in skeleton.parameters()} == {"meta"}
    attach.count_parameters(settings, config())
    assert attach.empty_base_model(settings) is skeleton
    assert not any(isinstance(module, LoraLayer) for module in skeleton.modules())


def weights(base: BaseModel, trial_config: TrialConfig) -> dict[str, torch.Tensor]:
    with attach.attached_adapter(base, trial_config):
        return {n: p.detach().clone() for n, p in base.model.named_parameters() if "lora_" in n}


def test_first_weights_follow_the_seed_and_nothing_else(base: BaseModel) -> None:
    torch.manual_seed(1)
    first = weights(base, config())
    torch.manual_seed(2)
    again = weights(base, config(learning_rate=5e-2, dropout=0.1))
    other_seed = weights(base, config(seed=8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other_seed[name]) for name in first)


def test_the_global_generator_is_left_as_it_was(base: BaseModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    for rank in (1, 64):
        torch.manual_seed(5)
        with attach.attached_adapter(base, config(rank=rank)):
            pass
        assert torch.equal(torch.rand(3), expected)


def test_scale_follows_alpha_and_rank(base: BaseModel) -> None:
    for variant, scale in (("lora", 2.0), ("rslora", 4.0)):
        trial_config = config(variant, rank=4, alpha=8.0)
        assert VARIANTS.get(variant).scale(4, 8.0) == scale
        with attach.attached_adapter(base, trial_config):
            layers = [m for m in base.model.modules() if isinstance(m, LoraLayer)]
            assert {layer.scaling["default"] for layer in layers} == {scale}
    with attach.attached_adapter(base, config(rank=4, alpha=2.0)):
        layers = [m for m in base.model.modules() if isinstance(m, LoraLayer)]
        assert {layer.scaling["default"] for layer in layers} == {0.5}


def test_dropout_acts_in_training_mode_only_and_the_base_has_none(base: BaseModel) -> None:
    with attach.attached_adapter(base, config(dropout=0.5)):
        stir(base)
        assert torch.equal(logits(base), logits(base))
        attach.set_dropout(base.model, on=True)
        assert not torch.equal(logits(base), logits(base))
        assert not base.model.training
        attach.set_dropout(base.model, on=False)
        assert torch.equal(logits(base), logits(base))


def test_an_error_inside_takes_the_adapter_off_too(base: BaseModel) -> None:
    before = checksum(base.model)

    def fail() -> None:
        with attach.attached_adapter(base, config()), merged(base.model):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert checksum(base.model) == before


def test_a_half_precision_base_is_not_merged(model_folder: Path) -> None:
    half = base_model.load(ModelSettings(name=str(model_folder), dtype="bfloat16"))
    with attach.attached_adapter(half, config()), merged(half.model):
        layers = [m for m in half.model.modules() if isinstance(m, LoraLayer)]
        assert layers
        assert not any(layer.merged for layer in layers)
        assert {layer.lora_A["default"].weight.dtype for layer in layers} == {torch.float32}


def test_saving_replaces_what_is_there(base: BaseModel, tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with attach.attached_adapter(base, config(rank=2)) as adapter:
        attach.save_adapter(adapter, target)
    assert not (target / "old.txt").exists()
    saved = json.loads((target / "adapter_config.json").read_text())
    assert saved["r"] == 2
    assert saved["base_model_name_or_path"] == base.name


def test_gpt2_is_told_that_its_weights_are_transposed() -> None:
    model = AutoModelForCausalLM.from_config(
        GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=64)
    )
    assert attach.create_adapter(model, config(target_modules="attention")).transposed
    assert attach.count_parameters(model, config(target_modules="qkv")) == 2 * 4 * (32 + 96)


def test_mistakes_are_the_users(base: BaseModel) -> None:
    with pytest.raises(UserError, match="did you mean 'dora'"):
        attach.create_adapter(base.model, config("dorra"))
    with pytest.raises(UserError, match="match no layer"):
        attach.create_adapter(base.model, config(target_modules="q_prj"))


def test_the_toy_model_has_grouped_heads() -> None:
    # Else q and v would have one shape, and a mix-up of the two could not be seen.
    assert toy.llama_config().num_key_value_heads < toy.llama_config().num_attention_heads


#: Adapters beside a new head, on an encoder and on a causal model.
HEAD = Head(TOKEN_CLASSIFICATION, ("O", "B-MED", "I-MED"))
HEAD_IDS = torch.tensor([[2, 20, 30, 40, 50, 60, 3]])
HEAD_SEQUENCES = tuple(
    TokenSequence(tuple((start + 7 * step) % 80 + 5 for step in range(30)), 0)
    for start in range(0, 96, 12)
)
HEAD_CONTEXT = InitContext(20, HEAD_SEQUENCES, 0)


@pytest.fixture(scope="module", params=["bert", "llama"])
def headed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp(request.param)
    model_folder = (toy_tags.save_encoder if request.param == "bert" else toy.save_model)(folder)
    return base_model.load(ModelSettings(name=str(model_folder)), 1, HEAD)


def head_logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=HEAD_IDS).logits


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT's
@pytest.mark.parametrize("variant", VARIANTS.names())
class TestEveryVariantWithAHead:
    def test_it_leaves_base_and_head_as_they_were(self, variant: str, headed: BaseModel) -> None:
        full, quick = checksum(headed.model), quick_checksum(headed.model)
        before = token_classifier.probe_output(headed.model, HEAD_IDS)
        names = [name for name, _ in headed.model.named_modules()]
        with attach.attached_adapter(headed, config(variant), context=HEAD_CONTEXT):
            head_input = token_classifier.probe_output(headed.model, HEAD_IDS)
            same = torch.allclose(head_input, before, rtol=1e-4, atol=1e-4)
            assert same == ("starts_as_base" in VARIANTS.get(variant).proofs)
            assert head_logits(headed.model).any()  # the head is drawn
            stir(headed)
            changed = token_classifier.probe_output(headed.model, HEAD_IDS)
            assert not torch.allclose(changed, before, atol=1e-2)
        assert (checksum(headed.model), quick_checksum(headed.model)) == (full, quick)
        assert not head_logits(headed.model).any()
        assert [name for name, _ in headed.model.named_modules()] == names
        assert not any(parameter.requires_grad for parameter in headed.model.parameters())

    def test_saved_and_loaded_it_says_the_same(
        self, variant: str, headed: BaseModel, tmp_path: Path
    ) -> None:
        with attach.attached_adapter(headed, config(variant), context=HEAD_CONTEXT) as adapter:
            stir(headed)
            folder = attach.save_adapter(adapter, tmp_path / "deep" / "0007")
            trained = head_logits(headed.model)
        others = [file for file in folder.parent.iterdir() if file != folder]  # LoftQ's base
        fresh = AutoModelForTokenClassification.from_pretrained(
            others[0] if others else headed.name, num_labels=len(HEAD.labels)
        )
        assert not torch.allclose(head_logits(fresh.eval()), trained, atol=1e-2)
        loaded = PeftModel.from_pretrained(fresh, str(folder)).eval()
        torch.testing.assert_close(head_logits(loaded), trained, rtol=1e-5, atol=1e-5)

    def test_merged_it_says_the_same(self, variant: str, headed: BaseModel) -> None:
        with attach.attached_adapter(headed, config(variant), context=HEAD_CONTEXT):
            stir(headed)
            unmerged = head_logits(headed.model)
            with merged(headed.model):
                layers = [m for m in headed.model.modules() if isinstance(m, BaseTunerLayer)]
                assert all(layer.merged for layer in layers)
                torch.testing.assert_close(
                    head_logits(headed.model), unmerged, rtol=1e-4, atol=1e-4
                )
            assert torch.equal(head_logits(headed.model), unmerged)

    def test_parameters_are_counted_with_the_head(self, variant: str, headed: BaseModel) -> None:
        head = sum(p.numel() for p in token_classifier.find_head(headed.model).module.parameters())
        assert head == 3 * 32 + 3
        trial_config = config(variant, target_modules="qv")
        with attach.attached_adapter(headed, trial_config, context=HEAD_CONTEXT):
            trained = {n: p for n, p in headed.model.named_parameters() if p.requires_grad}
        trainable = sum(p.numel() for p in trained.values())
        assert sum(p.numel() for n, p in trained.items() if "modules_to_save" in n) == head
        settings = ModelSettings(name=headed.name)
        assert attach.count_parameters(settings, trial_config, head=HEAD) == trainable
        assert attach.count_parameters(headed.model, trial_config) == trainable


def test_the_head_follows_the_seed_and_nothing_else(headed: BaseModel) -> None:
    name = token_classifier.find_head(headed.model).name

    def head(trial_config: TrialConfig) -> torch.Tensor:
        with attach.attached_adapter(headed, trial_config, context=HEAD_CONTEXT):
            parts = dict(headed.model.named_parameters())
            return parts[f"{name}.modules_to_save.default.weight"].detach().clone()

    first = head(config())
    assert torch.equal(head(config("dora", rank=16, dropout=0.1, target_modules="mlp")), first)
    assert not torch.equal(head(config(seed=8)), first)
    with attach.attached_adapter(headed, config("full")):
        assert torch.equal(headed.model.get_parameter(f"{name}.weight"), first)


def test_an_error_inside_puts_the_head_back_too(headed: BaseModel) -> None:
    before = checksum(headed.model)

    def fail() -> None:
        with attach.attached_adapter(headed, config()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert checksum(headed.model) == before
    assert not head_logits(headed.model).any()


def test_a_skeleton_has_a_head_of_its_own(headed: BaseModel) -> None:
    settings = ModelSettings(name=headed.name)
    skeleton = attach.empty_base_model(settings, HEAD)
    assert token_classifier.labels(skeleton) == HEAD.labels
    other_labels = attach.empty_base_model(
        settings, Head(TOKEN_CLASSIFICATION, ("O", "B-X", "I-X"))
    )
    assert token_classifier.labels(other_labels) == ("O", "B-X", "I-X")
    assert attach.empty_base_model(settings, HEAD) is skeleton


def test_other_modules_may_be_saved_beside_the_head(headed: BaseModel) -> None:
    norm = next(n for n, _ in headed.model.named_modules() if n.lower().endswith("norm"))
    trial_config = config().with_level("modules_to_save", norm.rpartition(".")[2])
    before = checksum(headed.model)
    with attach.attached_adapter(headed, trial_config, context=HEAD_CONTEXT):
        stir(headed)
        trained = [n for n, p in headed.model.named_parameters() if p.requires_grad]
    assert any(f"{norm}.modules_to_save" in name for name in trained)
    assert any("modules_to_save" in n and ("classifier" in n or "score" in n) for n in trained)
    assert checksum(headed.model) == before
