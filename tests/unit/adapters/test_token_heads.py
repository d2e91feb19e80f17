"""Adapters beside a new head, for every variant, on an encoder and on a causal model."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForTokenClassification

from harness.adapters import adapter as merging
from harness.adapters import attach
from harness.adapters.adapter import InitContext
from harness.config.settings import TOKEN_CLASSIFICATION, Head, ModelSettings
from harness.config.variants import VARIANTS
from harness.models import base_model, token_classifier
from harness.models.base_model import BaseModel, checksum, quick_checksum
from harness.models.batches import TokenSequence
from harness.trial import TrialConfig
from tests import toy, toy_tags

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

HEAD = Head(TOKEN_CLASSIFICATION, ("O", "B-MED", "I-MED"))
IDS = torch.tensor([[2, 20, 30, 40, 50, 60, 3]])
SEQUENCES = tuple(
    TokenSequence(tuple((start + 7 * step) % 80 + 5 for step in range(30)), 0)
    for start in range(0, 96, 12)
)
CONTEXT = InitContext(20, SEQUENCES, 0)


@pytest.fixture(scope="module", params=["bert", "llama"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp(request.param)
    made = (toy_tags.save_encoder if request.param == "bert" else toy.save_model)(folder)
    return base_model.load(ModelSettings(name=str(made)), 1, HEAD)


def config(variant: str = "lora", **changes: object) -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 1e-3, 7).replace(**changes)


def stir(base: BaseModel) -> None:
    """Gives every trained weight another value, as training would."""
    generator = torch.Generator().manual_seed(1)
    for parameter in base.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("variant", VARIANTS.names())
class TestEveryVariant:
    def test_it_leaves_base_and_head_as_they_were(self, variant: str, base: BaseModel) -> None:
        full, quick = checksum(base.model), quick_checksum(base.model)
        before = token_classifier.probe_output(base.model, IDS)
        names = [name for name, _ in base.model.named_modules()]
        with attach.attached_adapter(base, config(variant), context=CONTEXT):
            found = token_classifier.probe_output(base.model, IDS)
            same = torch.allclose(found, before, rtol=1e-4, atol=1e-4)
            assert same == ("starts_as_base" in VARIANTS.get(variant).proofs)
            assert logits(base.model).any()  # the head is drawn
            stir(base)
            changed = token_classifier.probe_output(base.model, IDS)
            assert not torch.allclose(changed, before, atol=1e-2)
        assert (checksum(base.model), quick_checksum(base.model)) == (full, quick)
        assert not logits(base.model).any()
        assert [name for name, _ in base.model.named_modules()] == names
        assert not any(parameter.requires_grad for parameter in base.model.parameters())

    def test_saved_and_loaded_it_says_the_same(
        self, variant: str, base: BaseModel, tmp_path: Path
    ) -> None:
        with attach.attached_adapter(base, config(variant), context=CONTEXT) as adapter:
            stir(base)
            folder = attach.save_adapter(adapter, tmp_path / "deep" / "0007")
            trained = logits(base.model)
        others = [file for file in folder.parent.iterdir() if file != folder]  # LoftQ's base
        fresh = AutoModelForTokenClassification.from_pretrained(
            others[0] if others else base.name, num_labels=len(HEAD.labels)
        )
        assert not torch.allclose(logits(fresh.eval()), trained, atol=1e-2)
        loaded = PeftModel.from_pretrained(fresh, str(folder)).eval()
        torch.testing.assert_close(logits(loaded), trained, rtol=1e-5, atol=1e-5)

    def test_merged_it_says_the_same(self, variant: str, base: BaseModel) -> None:
        with attach.attached_adapter(base, config(variant), context=CONTEXT):
            stir(base)
            apart = logits(base.model)
            with merging.merged(base.model):
                layers = [m for m in base.model.modules() if isinstance(m, BaseTunerLayer)]
                assert all(layer.merged for layer in layers)
                torch.testing.assert_close(logits(base.model), apart, rtol=1e-4, atol=1e-4)
            assert torch.equal(logits(base.model), apart)

    def test_parameters_are_counted_with_the_head(self, variant: str, base: BaseModel) -> None:
        head = sum(p.numel() for p in token_classifier.find_head(base.model).module.parameters())
        assert head == 3 * 32 + 3
        wanted = config(variant, target_modules="qv")
        with attach.attached_adapter(base, wanted, context=CONTEXT):
            trained = {n: p for n, p in base.model.named_parameters() if p.requires_grad}
        real = sum(p.numel() for p in trained.values())
        assert sum(p.numel() for n, p in trained.items() if "modules_to_save" in n) == head
        settings = ModelSettings(name=base.name)
        assert attach.count_parameters(settings, wanted, head=HEAD) == real
        assert attach.count_parameters(base.model, wanted) == real


def test_the_head_follows_the_seed_and_nothing_else(base: BaseModel) -> None:
    name = token_classifier.find_head(base.model).name

    def head(wanted: TrialConfig) -> torch.Tensor:
        with attach.attached_adapter(base, wanted, context=CONTEXT):
            parts = dict(base.model.named_parameters())
            return parts[f"{name}.modules_to_save.default.weight"].detach().clone()

    first = head(config())
    assert torch.equal(head(config("dora", rank=16, dropout=0.1, target_modules="mlp")), first)
    assert not torch.equal(head(config(seed=8)), first)
    with attach.attached_adapter(base, config("full")):
        assert torch.equal(base.model.get_parameter(f"{name}.weight"), first)


def test_an_error_inside_puts_the_head_back_too(base: BaseModel) -> None:
    before = checksum(base.model)

    def fail() -> None:
        with attach.attached_adapter(base, config()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert checksum(base.model) == before
    assert not logits(base.model).any()


def test_a_skeleton_has_a_head_of_its_own(base: BaseModel) -> None:
    settings = ModelSettings(name=base.name)
    skeleton = attach.empty_base_model(settings, HEAD)
    assert token_classifier.labels(skeleton) == HEAD.labels
    other = attach.empty_base_model(settings, Head(TOKEN_CLASSIFICATION, ("O", "B-X", "I-X")))
    assert token_classifier.labels(other) == ("O", "B-X", "I-X")
    assert attach.empty_base_model(settings, HEAD) is skeleton


def test_other_modules_may_be_saved_beside_the_head(base: BaseModel) -> None:
    norm = next(n for n, _ in base.model.named_modules() if n.lower().endswith("norm"))
    wanted = config().with_level("modules_to_save", norm.rpartition(".")[2])
    before = checksum(base.model)
    with attach.attached_adapter(base, wanted, context=CONTEXT):
        stir(base)
        trained = [n for n, p in base.model.named_parameters() if p.requires_grad]
    assert any(f"{norm}.modules_to_save" in name for name in trained)
    assert any("modules_to_save" in n and ("classifier" in n or "score" in n) for n in trained)
    assert checksum(base.model) == before
