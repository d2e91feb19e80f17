"""Tells what memory a trial took at its peak, and whether an error means that memory ran out.

Reads the kernel's own high-water mark, so that nothing has to be sampled on the way.
"""

import sys
from pathlib import Path
from typing import Final

import torch
from torch import nn

_RESET: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_MEMORY: Final = Path("/proc/meminfo")
_PHRASES: Final = ("not enough memory", "can't allocate memory", "out of memory")


class PeakMemory:
    """The highest memory in use since this object was made.

    On a GPU the memory allocated there; else the resident memory of the process. Where the
    kernel's mark cannot be reset (not Linux, or forbidden), it is the mark since the process
    began.

    Args:
        device: where the model lies.
    """

    def __init__(self, device: torch.device) -> None:
        """Resets the mark."""
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _RESET.write_text("5")  # proc(5): resets the peak resident set size
        except OSError:
            return

    def bytes(self) -> int:
        """The peak so far, in bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _read(_STATUS, "VmHWM:") or _lifetime_peak()


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights and buffers of a model, each counted once."""
    kept = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.nbytes for each in kept.values())


def available() -> int:
    """Bytes of memory that are free: on the GPU where there is one, else in the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return _read(_MEMORY, "MemAvailable:") or sys.maxsize


def _read(file: Path, name: str) -> int | None:
    """A figure of the kernel's in bytes; None where it does not tell."""
    try:
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _lifetime_peak() -> int:
    import resource  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def ran_out(error: BaseException) -> bool:
    """Whether this error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(each in text for each in _PHRASES)
