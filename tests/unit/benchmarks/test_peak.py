"""Products are counted as torch counts them, and all time has a kind; nothing is timed."""

import copy
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils import flop_counter

from benchmarks import peak
from benchmarks.products import Ceiling, Product, operations, recorded
from benchmarks.profiled import KINDS, kind_of, table
from benchmarks.stepping import PackedSteps, SequentialSteps
from harness.adapters import attach
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.trial import TrialConfig

TRAINING = TrainingSettings(steps=9, batch_size=10, max_length=96, readings=0)
CONFIG = TrialConfig("lora", 4, 8.0, 0.0, "all_linear", 1e-3, 0)


@pytest.fixture
def eager(base: BaseModel) -> BaseModel:
    """Attention as products of its own, which torch's counter knows on a processor too."""
    model = copy.deepcopy(base.model)
    model.set_attn_implementation("eager")
    return replace(base, model=model)


def test_products_are_those_that_torch_counts(
    eager: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SequentialSteps(eager, task, TRAINING, CONFIG)) as steps:
        steps.step()
        ours = operations(recorded(eager.model, steps.step))
    monkeypatch.setattr(
        attach, "fuse_lora_layers", lambda _model: 0
    )  # torch counts no product in place
    with closing(SequentialSteps(eager, task, TRAINING, CONFIG)) as steps:
        steps.step()
        with flop_counter.FlopCounterMode(display=False) as counter:
            steps.step()
        theirs = operations(recorded(eager.model, steps.step))

    assert sum(theirs.values()) == counter.get_total_flops()
    assert ours == theirs
    assert all(ours.values())
    # The first layer's inputs need no gradient, so its q, k and v have no way back.
    assert 0.5 < ours["base backward"] / ours["base forward"] < 1


def test_a_layer_with_an_adapter_makes_the_products_of_the_formula(
    eager: BaseModel, task: Task
) -> None:
    with closing(SequentialSteps(eager, task, TRAINING, CONFIG.replace(target_modules="q"))) as it:
        products = recorded(eager.model, it.step)
    rows = max(one.rows for one in products if one.purpose == "base forward")
    linear = (
        2
        * rows
        * sum(
            weight.numel()
            for name, weight in eager.model.named_parameters()
            if "proj" in name and "lora" not in name
        )
    )
    assert operations(products)["base forward"] == linear


@pytest.mark.parametrize(("backward", "expected"), [(False, 2), (True, 7)])
def test_attention_counts_as_torch_counts_it(backward: bool, expected: int) -> None:
    query, key, value = (torch.randn(2, 3, 5, 8, requires_grad=backward) for _ in range(3))

    class Bare(torch.nn.Linear):
        def get_output_embeddings(self) -> torch.nn.Module:
            return self

    def attend() -> None:
        out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        if backward:
            out.sum().backward()

    products = recorded(Bare(1, 1), attend)
    shape = tuple(query.shape)
    counted = flop_counter.sdpa_flop_count(shape, shape, shape)
    if backward:
        counted += flop_counter.sdpa_backward_flop_count(shape, shape, shape, shape)
    assert len(products) == expected
    assert sum(one.operations for one in products) == counted


def test_slots_of_a_pack_make_the_products_of_as_many_adapters(
    base: BaseModel, task: Task
) -> None:
    found = []
    for count in (1, 2):
        configs = [CONFIG.replace(seed=seed) for seed in range(count)]
        with closing(PackedSteps(base, task, TRAINING, configs)) as steps:
            steps.step()
            found.append(operations(recorded(base.model, steps.step)))
    assert found[1]["adapters"] == 2 * found[0]["adapters"]
    assert found[1]["base forward"] == 2 * found[0]["base forward"]
    assert "lora_A" not in str([name for name, _ in base.model.named_modules()])


def test_the_ceiling_makes_every_product() -> None:
    products = [
        Product("adapters", 1, 3, 4, 5, "float32"),
        Product("attention", 2, 3, 4, 5, "bfloat16"),
        Product("adapters", 1, 3, 4, 5, "float32"),
    ]
    ceiling = Ceiling(products)
    with flop_counter.FlopCounterMode(display=False) as counter:
        ceiling()
    assert counter.get_total_flops() == sum(one.operations for one in products) == 480


@pytest.mark.parametrize(
    ("name", "ancestors", "norm", "kind"),
    [
        ("aten::mm", ["aten::linear"], False, "products"),
        ("aten::mul", [], False, "elementwise"),
        ("aten::mul", [], True, "normalisation"),
        ("aten::mul", ["Optimizer.step#AdamW.step"], False, "optimiser"),
        ("aten::_foreach_norm", [], False, "optimiser"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [], False, "attention"),
        ("autograd::engine::evaluate_function: MulBackward0", [], False, "rest"),
        ("aten::index_select", [], False, "rest"),
    ],
)
def test_operations_have_a_kind(name: str, ancestors: list[str], norm: bool, kind: str) -> None:
    assert kind_of(name, ancestors, norm) == kind


def test_all_kinds_are_found_in_a_step(base: BaseModel, task: Task) -> None:
    with closing(SequentialSteps(base, task, TRAINING, CONFIG)) as steps:
        steps.step()
        found = table(base.model, steps.step, 2)
    assert list(found) == list(KINDS)
    assert all(milliseconds > 0 for milliseconds in found.values())


@pytest.mark.parametrize("engine", ["sequential", "packed"])
def test_the_command_tells_each_precision(model_folder: Path, engine: str) -> None:
    words = ["--model", str(model_folder), "--repeats", "1", "--steps", "1", "--engine", engine]
    given = peak.arguments([*words, "--rank", "2", "--batch-size", "2"])
    found = peak.run(given)
    assert list(found["cases"]) == ["float32", "bfloat16"]
    for told in found["cases"].values():
        assert told["ratio"][0] > 0
        assert told["step_gflops"] > 0
    text = peak.markdown(found)
    assert "| bfloat16 |" in text
    assert str(model_folder.parent) not in text
