"""An adapter beside its base: the base is bare, and the adapter is what it was when it is back."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.adapters import attach as attaching
from harness.adapters.adapter import Adapter
from harness.models.base_model import BaseModel, checksum
from harness.training.packed.slot import Parked
from harness.trial import TrialConfig

PROBE = torch.tensor([[1, 40, 50, 60, 7, 200]])
VARIANTS = ("lora", "dora", "orthogonal", "pissa", "vera")


def config(variant: str = "lora", **changes: object) -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, 0.0, "all_linear", 5e-3, 5).with_(**changes)


@torch.no_grad()
def logits(base: BaseModel) -> Tensor:
    found: Tensor = base.model(input_ids=PROBE, use_cache=False).logits
    return found


def parts(base: BaseModel) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in base.model.named_modules()]


@torch.no_grad()
def moved(adapter: Adapter, seed: int) -> None:
    """Other weights than at the start, so that the adapter says something."""
    drawn = torch.Generator().manual_seed(seed)
    for weight in adapter.base.parameters():
        if weight.requires_grad:
            weight += 0.1 * torch.randn(weight.shape, generator=drawn)


@contextmanager
def parked(base: BaseModel, wanted: TrialConfig, seed: int = 1) -> Iterator[tuple[Parked, Tensor]]:
    """An adapter taken aside, and what the base says with it on."""
    bare = [(weight, weight.data) for weight in base.model.parameters()]
    with attaching.attached(base, wanted) as adapter:
        moved(adapter, seed)
        said = logits(base)
        aside = Parked(adapter, bare)
        try:
            yield aside, said
        finally:
            aside.enter()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_base_is_bare_while_an_adapter_is_parked(variant: str, base: BaseModel) -> None:
    bare, there, weights = logits(base), parts(base), checksum(base.model)
    with parked(base, config(variant)) as (aside, said):
        assert not torch.equal(said, bare)
        for _ in range(2):
            assert torch.equal(logits(base), bare)
            assert parts(base) == there
            assert checksum(base.model) == weights
            assert not hasattr(base.model, "peft_config")
            assert not any(weight.requires_grad for weight in base.model.parameters())
            with aside.present():
                assert torch.equal(logits(base), said)
                assert hasattr(base.model, "peft_config")
    assert torch.equal(logits(base), bare)
    assert checksum(base.model) == weights


def test_whatever_happens_while_it_is_on_it_is_taken_off(base: BaseModel) -> None:
    bare = logits(base)
    with parked(base, config()) as (aside, _):
        with pytest.raises(IndexError), aside.present():
            base.model(input_ids=PROBE + 1000)
        assert torch.equal(logits(base), bare)


@pytest.mark.parametrize("first", ["lora", "dora", "pissa"])
def test_two_adapters_are_on_in_turn(first: str, base: BaseModel) -> None:
    bare = logits(base)
    with ExitStack() as stack:
        one, said_by_one = stack.enter_context(parked(base, config(first), 1))
        other, said_by_other = stack.enter_context(
            parked(base, config("dora", rank=2, target_modules="qv"), 2)
        )
        assert not torch.equal(said_by_one, said_by_other)
        for aside, said in ((one, said_by_one), (other, said_by_other)) * 2:
            with aside.present():
                assert torch.equal(logits(base), said)
            assert torch.equal(logits(base), bare)
    assert torch.equal(logits(base), bare)


# PEFT asks Transformers by the old name of a property.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_a_parked_adapter_is_saved_as_peft_reads_it(
    variant: str, base: BaseModel, model_folder: Path, tmp_path: Path
) -> None:
    bare = [(weight, weight.data) for weight in base.model.parameters()]
    with attaching.attached(base, config(variant)) as adapter:
        moved(adapter, 3)
        said, aside = logits(base), Parked(adapter, bare)
        with parked(base, config("lora", rank=1), 4), aside.present():
            attaching.save(adapter, str(tmp_path / "it"))
        aside.enter()
    fresh = AutoModelForCausalLM.from_pretrained(model_folder)
    loaded = PeftModel.from_pretrained(fresh, tmp_path / "it").eval()
    with torch.no_grad():
        found = loaded(input_ids=PROBE, use_cache=False).logits
    torch.testing.assert_close(found, said, rtol=1e-5, atol=1e-5)
