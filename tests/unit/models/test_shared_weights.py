"""Weights of a base that several processes map from one file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.models import shared_weights
from harness.models.base_model import checksum
from harness.models.shared_weights import remove_shared_weights, share_weights

NAME = "base-0123456789abcdef.safetensors"
MARK = "0123456789abcdef" * 4


def model(seed: int = 0, width: int = 64) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Embedding(50, width), nn.Linear(width, width), nn.Linear(width, 50))
    network[2].weight = network[0].weight  # tied
    return network.requires_grad_(False)


def test_weights_are_the_same_and_tied_ones_stay_tied(tmp_path: Path) -> None:
    network = model()
    before = checksum(network)
    assert share_weights(network, tmp_path, MARK, min_bytes=1)
    assert checksum(network) == before
    assert network[2].weight is network[0].weight
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_the_second_maps_what_the_first_wrote(tmp_path: Path) -> None:
    assert share_weights(model(), tmp_path, MARK, min_bytes=1)
    written = (tmp_path / NAME).stat().st_mtime_ns
    assert share_weights(model(), tmp_path, MARK, min_bytes=1)
    assert (tmp_path / NAME).stat().st_mtime_ns == written


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_a_file_with_anything_else_is_written_anew(content: bytes | None, tmp_path: Path) -> None:
    if content is None:
        save_file(
            {name: weight + 1 for name, weight in model().named_parameters()}, tmp_path / NAME
        )
    else:
        (tmp_path / NAME).write_bytes(content)
    network = model()
    before = checksum(network)
    assert share_weights(network, tmp_path, MARK, min_bytes=1)
    assert checksum(network) == before


def test_what_is_changed_is_changed_for_oneself_alone(tmp_path: Path) -> None:
    first, second = model(), model()
    assert share_weights(first, tmp_path, MARK, min_bytes=1)
    assert share_weights(second, tmp_path, MARK, min_bytes=1)
    before = checksum(second)
    first[1].weight.add_(1.0)
    assert checksum(second) == before
    assert share_weights(model(), tmp_path, MARK, min_bytes=1)  # nor is the file


def test_without_room_all_stays_as_it_is(tmp_path: Path) -> None:
    network = model()
    before = checksum(network)
    assert not share_weights(network, tmp_path / "nowhere", MARK, min_bytes=1)
    assert checksum(network) == before


def test_a_small_base_is_left_alone(tmp_path: Path) -> None:
    assert not share_weights(model(), tmp_path, MARK)
    assert list(tmp_path.iterdir()) == []


def test_files_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "study.db").touch()
    network = model()
    assert share_weights(network, tmp_path, MARK, min_bytes=1)
    remove_shared_weights(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]
    assert torch.equal(network[1].weight, model()[1].weight)


def test_whoever_runs_a_session_needs_no_torch_to_remove_them(tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    code = (
        "import sys, pathlib, harness.study.launcher; "
        "from harness.models import shared_weights; "
        "shared_weights.remove_shared_weights(pathlib.Path(sys.argv[1])); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert list(tmp_path.iterdir()) == []


CHILD = """
import sys, torch
from pathlib import Path
from torch import nn
from harness.models.shared_weights import share_weights
made = nn.Linear(4096, 8192, bias=False).requires_grad_(False)
made.weight.zero_().add_(2.0)
assert share_weights(made, Path(sys.argv[1]), "f" * 64)
made.weight.sum()
print("mapped", flush=True)
sys.stdin.readline()
rows = [row for row in Path("/proc/self/smaps").read_text().split("VmFlags") if "base-ffff" in row]
lines = [line.split() for row in rows for line in row.splitlines()]
for name in ("Rss:", "Pss:"):
    print(sum(int(line[1]) for line in lines if line[0] == name), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel does not tell")
def test_two_processes_have_one_copy(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CHILD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as first, subprocess.Popen(words, **pipes) as second:
        both = (first, second)
        assert [process.stdout.readline() for process in both] == ["mapped\n"] * 2
        for process in both:
            process.stdin.write("\n")
            process.stdin.flush()
            resident, proportional = (int(process.stdout.readline()) for _ in range(2))
            assert resident >= 4096 * 8192 * 4 // 1024
            assert proportional <= 0.55 * resident
        for process in both:
            process.communicate("\n")
    assert shared_weights.MIN_BYTES < 4096 * 8192 * 4
