"""Tells what memory a trial took at its peak, and whether an error means that memory ran out.

Reads the kernel's own high-water mark, so that nothing has to be sampled on the way.

What the frozen base takes in memory: its linear layers, and all that stays as it is.

Knows how bitsandbytes keeps 4-bit and 8-bit weights, nothing of adapters.
"""

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.models import token_classifier

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


def available_bytes() -> int:
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(each in text for each in _PHRASES)


class Footprint(NamedTuple):
    """Bytes of a base's weights.

    Attributes:
        linear: linear layers but the output head, with all that is needed to read them.
        linear_in_bfloat16: the same at two bytes a weight.
        rest: embeddings, output head, norms and biases.
    """

    linear: int
    linear_in_bfloat16: int
    rest: int


def footprint(model: PreTrainedModel) -> Footprint:
    """Measures a base without adapter."""
    own, new = model.get_output_embeddings(), token_classifier.find_head(model)  # type: ignore[no-untyped-call]
    head = own if new is None else new.module
    linear = plain = 0
    counted: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head:
            weight = module.get_parameter("weight")
            counted.add(id(weight))
            linear += _bytes(weight)
            rows, columns = _shape(module)
            plain += 2 * rows * columns
    rest = [weight for weight in model.parameters() if id(weight) not in counted]
    return Footprint(linear, plain, sum(map(_bytes, [*rest, *model.buffers()])))


def _shape(module: nn.Linear | Conv1D) -> tuple[int, int]:
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    rows, columns = module.weight.shape
    return int(rows), int(columns)


def _bytes(tensor: torch.Tensor) -> int:
    state: Any = getattr(tensor, "quant_state", None)
    parts = [tensor, getattr(tensor, "SCB", None)]
    while state is not None:  # scales, and with double quantisation the scales' scales
        parts += [state.absmax, state.code, state.offset]
        state = state.state2
    return sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
