"""One copy of a base's weights for all workers of a study on a machine, instead of one for each.

Where a base is wanted in the precision in which it is stored, Transformers maps its file, and the
system keeps one copy for all processes. Converted weights are each process's own: here they are
written once, beside the study, and mapped by all. Knows nothing of studies; whoever only removes
the files needs no torch.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Bytes of weights below which a file is not worth the trouble.
LEAST: Final = 64 << 20
_NAME: Final = "base-{}.safetensors"


def share_weights(model: nn.Module, folder: Path, fingerprint: str, least: int = LEAST) -> bool:
    """Has a model's weights come from a file that others map, too.

    What is in the file is compared with what it takes the place of. Where it cannot be written,
    all stays as it is.

    Args:
        model: frozen, on the processor, not quantised.
        folder: where the file is, or is made.
        fingerprint: of the weights; names the file.
        least: bytes of weights below which nothing is done.

    Returns:
        Whether the weights are mapped now.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.numel()}
    if sum(weight.nbytes for weight in weights.values()) < least:
        return False
    file = folder / _NAME.format(fingerprint[:16])
    mapped = _mapped(file, weights)
    if mapped is None:
        _write(file, weights)
        mapped = _mapped(file, weights)
    if mapped is None:
        return False
    for name, weight in weights.items():
        weight.data = mapped[name]
    _give_back()
    return True


def remove_shared_weights(folder: Path) -> None:
    """Removes such files; whoever has one mapped keeps it."""
    for file in folder.glob(_NAME.format("*")):
        file.unlink(missing_ok=True)


def _give_back() -> None:
    """Has the C library return freed memory to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def _mapped(file: Path, weights: dict[str, nn.Parameter]) -> dict[str, Tensor] | None:
    """The file's tensors; None if it is not there or holds something else."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(file)
    except (OSError, SafetensorError):
        return None
    if found.keys() != weights.keys():
        return None
    same = (
        (one := found[name]).dtype == own.dtype and torch.equal(one, own.detach())
        for name, own in weights.items()
    )
    return found if all(same) else None


def _write(file: Path, weights: dict[str, nn.Parameter]) -> None:
    """Writes the file, unless another process was first; on a full disk nothing is left."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    draft = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.unlink(missing_ok=True)  # it holds something else
        save_file({name: one.detach().contiguous() for name, one in weights.items()}, draft)
        file.hardlink_to(draft)  # unlike a replacement, it fails where there is one
    except (OSError, SafetensorError):
        pass
    finally:
        draft.unlink(missing_ok=True)
