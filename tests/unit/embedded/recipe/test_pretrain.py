"""The build: runs from nothing, repeats bit for bit, and its fused is the Llama it saves."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.embedded.recipe.documents import (
    STAGES,
    learning_rate_factor,
    stage_steps,
    step_chunks,
)
from harness.embedded.recipe.model import (
    FusedLlama,
    LlamaShape,
    ProcessGroup,
    orthogonalize,
    run_processes,
    to_llama,
)
from harness.embedded.recipe.pretrain import Options, build


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _tiny(out: Path) -> Options:
    return Options(out, tokens=3072, tokenizer_documents=200, probe_documents=2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny build by one process with one thread."""
    folder, before = tmp_path_factory.mktemp("build") / "one", torch.get_num_threads()
    torch.set_num_threads(1)
    build(_tiny(folder))
    torch.set_num_threads(before)
    return folder


@pytest.mark.slow
def test_a_tiny_build_repeats_bit_for_bit_and_loads(alone: Path, tmp_path: Path) -> None:
    build(_tiny(tmp_path / "two"))
    first = (alone / "model.safetensors").read_bytes()
    assert first == (tmp_path / "two" / "model.safetensors").read_bytes()
    model = AutoModelForCausalLM.from_pretrained(alone)
    tokenizer = AutoTokenizer.from_pretrained(alone)
    assert model.config.vocab_size >= len(tokenizer)
    last = json.loads((alone / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == len(STAGES)
    assert 0 <= last["copy_accuracy"] <= 1


@pytest.mark.slow
def test_two_processes_train_what_one_trains(alone: Path, tmp_path: Path) -> None:
    run_processes(2, tmp_path / "meeting", partial(build, _tiny(tmp_path / "two")))
    single, parallel = (
        load_file(folder / "model.safetensors") for folder in (alone, tmp_path / "two")
    )
    assert single.keys() == parallel.keys()
    for name, weight in single.items():
        # half precision, and sums in another order
        torch.testing.assert_close(weight, parallel[name], atol=2e-3, rtol=2e-2)


def test_a_member_takes_its_part_of_the_rows() -> None:
    rows = torch.arange(8).view(4, 2)
    assert ProcessGroup(1, 2).local_rows(rows).tolist() == [[4, 5], [6, 7]]
    assert ProcessGroup().local_rows(rows).equal(rows)
    with pytest.raises(ValueError, match="3 rows cannot be shared among 2"):
        ProcessGroup(0, 2).local_rows(rows[:3])


def test_the_twin_and_the_llama_agree() -> None:
    torch.manual_seed(0)
    fused = FusedLlama(
        LlamaShape(vocabulary=64, hidden=32, layers=2, heads=2, mlp=48, positions=64)
    )
    ids = torch.randint(3, 64, (2, 20))
    with torch.no_grad():
        ours = fused(ids, torch.arange(40)).view(2, 20, 64)
        theirs = to_llama(fused)(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_the_schedule_spends_the_tokens_and_ends_low() -> None:
    tokens = 14_000_000
    planned = sum(stage.length * stage.rows * stage_steps(stage, tokens) for stage in STAGES)
    assert abs(planned - tokens) < 0.01 * tokens
    assert sum(stage.share for stage in STAGES) == pytest.approx(1)
    assert sum(count for _, count in step_chunks(tokens, 100)) == sum(
        stage_steps(stage, tokens) for stage in STAGES
    )
    assert learning_rate_factor(0, 0.0) < 0.05
    assert learning_rate_factor(1000, 0.2) == 1
    assert learning_rate_factor(4000, 1.0) == pytest.approx(0.03)


def test_muon_updates_are_nearly_orthogonal() -> None:
    torch.manual_seed(1)
    update = orthogonalize(torch.randn(2, 16, 40))
    singular = torch.linalg.svdvals(update)
    assert singular.min() > 0.5
    assert singular.max() < 1.5
