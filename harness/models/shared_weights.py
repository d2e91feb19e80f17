"""One memory-mapped copy of a base model's weights for all workers of a study on a machine.

Where a base is loaded in the precision in which it is stored, Transformers maps its file, and the
operating system keeps one copy for all processes. Converted weights would be private to each
process: here they are written once, next to the study, and mapped by all. Importing this module,
and removing the files, needs no torch.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Smaller weights are not shared: they cost less than the file.
MIN_BYTES: Final = 64 << 20
_NAME: Final = "base-{}.safetensors"


def share_weights(
    model: nn.Module, folder: Path, fingerprint: str, min_bytes: int = MIN_BYTES
) -> bool:
    """Replaces a model's weights by a file that all processes map.

    The file's contents are compared with the weights first. Where it cannot be written, nothing
    changes.

    Args:
        model: frozen, on the CPU, not quantised.
        folder: folder of the file, which is written if it does not exist.
        fingerprint: of the weights; names the file.
        min_bytes: smallest size of the weights for which this is done.

    Returns:
        Whether the weights are mapped from the file.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.numel()}
    if sum(weight.nbytes for weight in weights.values()) < min_bytes:
        return False
    file = folder / _NAME.format(fingerprint[:16])
    mapped = _load_mapped(file, weights)
    if mapped is None:
        _write(file, weights)
        mapped = _load_mapped(file, weights)
    if mapped is None:
        return False
    for name, weight in weights.items():
        weight.data = mapped[name]
    _trim_heap()
    return True


def remove_shared_weights(folder: Path) -> None:
    """Removes the files of `share_weights`; processes that have one mapped keep its contents."""
    for file in folder.glob(_NAME.format("*")):
        file.unlink(missing_ok=True)


def _trim_heap() -> None:
    """Returns the freed memory of the replaced weights to the system, with glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _load_mapped(file: Path, weights: dict[str, nn.Parameter]) -> dict[str, Tensor] | None:
    """The file's tensors; None if there is no file or it holds other weights."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError):
        return None
    same = tensors.keys() == weights.keys() and all(
        tensors[name].dtype == weight.dtype and torch.equal(tensors[name], weight.detach())
        for name, weight in weights.items()
    )
    return tensors if same else None


def _write(file: Path, weights: dict[str, nn.Parameter]) -> None:
    """Writes the file, unless another process was faster; a full disk leaves no partial file."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.unlink(missing_ok=True)  # it holds other weights
        tensors = {name: weight.detach().contiguous() for name, weight in weights.items()}
        save_file(tensors, temporary)
        file.hardlink_to(temporary)  # fails where the file exists, unlike `replace`
    except (OSError, SafetensorError):
        pass
    finally:
        temporary.unlink(missing_ok=True)
