import sys
from pathlib import Path

import pytest
import torch

from harness.models import memory
from harness.models.memory import PeakMemory, ran_out

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the Linux kernel's mark")
def test_the_peak_sees_what_was_freed_and_forgets_earlier_peaks() -> None:
    def use(megabytes: int) -> None:
        torch.ones(megabytes * 2**18)

    first = PeakMemory(CPU)
    before = first.bytes()
    use(300)
    assert first.bytes() - before > 250 * 2**20
    second = PeakMemory(CPU)
    assert second.bytes() < first.bytes() or first.bytes() == second.bytes() < before + 100 * 2**20


def test_without_the_kernels_files_the_peak_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "_RESET", tmp_path / "none" / "a")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none" / "b")
    assert PeakMemory(CPU).bytes() > 50 * 2**20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried ..."),
        OSError(12, "Cannot allocate memory: can't allocate memory"),
    ],
)
def test_it_knows_memory_errors(error: Exception) -> None:
    assert ran_out(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory")])
def test_it_knows_others(error: Exception) -> None:
    assert not ran_out(error)


def test_an_impossible_tensor_is_a_memory_error() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**46)
    assert ran_out(told.value)
