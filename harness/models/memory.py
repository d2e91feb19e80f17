"""Memory: the policy of what it is used for, what is free, what trials and base models take.

Two decisions on memory are made elsewhere: `training.micro_batch_size` in a sweep bounds the
examples in one pass (`harness.training.loop.retry_out_of_memory` halves it where memory runs
out), and `harness.study.launcher` chooses the number of workers.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.models import token_classifier

# proc(5): writing 5 here resets the process's peak resident set size.
_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_MEMINFO: Final = Path("/proc/meminfo")
_MESSAGES: Final = ("not enough memory", "can't allocate memory", "out of memory")


@dataclass(frozen=True)
class MemoryPolicy:
    """The bounds that decide what memory is used for.

    Attributes:
        free_share: share of the free memory that adapters in one pack are expected to fill; the
            rest is for longer batches than those that were timed.
        merge_limit: weights that scoring merges an adapter into at most, since merging copies
            them (256 MB in float32); a larger model gains little by it.
        bytes_per_full_weight: bytes that full fine-tuning takes for each weight beside the frozen
            base: copy, gradient and AdamW's two moments, each in float32.
        cache_limit: bytes of hidden states that the packed engine's prefix cache keeps at most.
        cache_share: the same as a share of the memory that is free when it is first used.
    """

    free_share: float = 0.7
    merge_limit: int = 64_000_000
    bytes_per_full_weight: int = 16
    cache_limit: int = 512 << 20
    cache_share: float = 0.1


#: The policy that holds.
MEMORY: Final = MemoryPolicy()


class PeakMemory:
    """The highest memory in use since this object was created.

    On a GPU the memory allocated there; else the resident memory of the process. Where the
    kernel's mark cannot be reset (not Linux, or forbidden), it is the peak since the process
    began.

    Args:
        device: where the model is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            # The kernel's own high-water mark: nothing has to be sampled while a trial runs.
            _CLEAR_REFS.write_text("5")
        except OSError:
            return

    def bytes(self) -> int:
        """The peak so far, in bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _read_bytes(_STATUS, "VmHWM:") or _process_peak()


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights and buffers of a model; one that is shared counts once."""
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def available_bytes() -> int:
    """Bytes of memory that are free: on the GPU if there is one, else in the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return _read_bytes(_MEMINFO, "MemAvailable:") or sys.maxsize


def _read_bytes(file: Path, name: str) -> int | None:
    """A figure of a kernel file, in bytes; None if there is no such file or line."""
    try:
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _process_peak() -> int:
    import resource  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error means that memory ran out, on a GPU or in the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # On a processor torch raises a plain RuntimeError.
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(
        message in text for message in _MESSAGES
    )


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
    task_head = token_classifier.find_head(model)
    language_head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    head = language_head if task_head is None else task_head.module
    linear = in_bfloat16 = 0
    counted: set[int] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head:
            weight = module.get_parameter("weight")
            counted.add(id(weight))
            linear += _tensor_bytes(weight)
            # A 4-bit weight's own shape is that of its packed codes.
            if isinstance(module, nn.Linear):
                in_bfloat16 += 2 * module.out_features * module.in_features
            else:
                in_bfloat16 += 2 * weight.numel()
    rest = [weight for weight in model.parameters() if id(weight) not in counted]
    return Footprint(linear, in_bfloat16, sum(map(_tensor_bytes, [*rest, *model.buffers()])))


def _tensor_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor with the scales of bitsandbytes' 8-bit and 4-bit weights."""
    state: Any = getattr(tensor, "quant_state", None)
    parts = [tensor, getattr(tensor, "SCB", None)]
    while state is not None:  # scales, and with double quantisation the scales' scales
        parts += [state.absmax, state.code, state.offset]
        state = state.state2
    return sum(part.nbytes for part in parts if isinstance(part, torch.Tensor))
