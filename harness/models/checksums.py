"""Fingerprints of a model's weights: a full one, and a cheap one to take after each trial.

Knows nothing of adapters: take them while none is attached.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

_SAMPLES: Final = 64


def checksum(model: nn.Module) -> str:
    """SHA-256 over name, type, shape and every byte of all weights, buffers included.

    Quantised weights count with what is needed to read them (scales, code books).

    Returns:
        64 hex digits; the same on every machine and device.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(_bytes(tensor.detach()).cpu().numpy().tobytes())
    return digest.hexdigest()


def quick_checksum(model: nn.Module) -> str:
    """SHA-256 over the names and 64 evenly spaced numbers of each weight; a few milliseconds.

    Any update by an adapter (merging, also with rounding after unmerging) touches nearly every
    number of a matrix, so that the sample shows it.
    """
    digest = hashlib.sha256()
    samples: dict[torch.device, list[torch.Tensor]] = {}
    for name, tensor in _tensors(model):
        digest.update(name.encode())
        flat = tensor.detach().reshape(-1)
        stride = max(1, flat.numel() // _SAMPLES)
        samples.setdefault(flat.device, []).append(_bytes(flat[::stride][:_SAMPLES]))
    # bitsandbytes keeps some of what reads 8-bit weights on the processor.
    for each in samples.values():
        digest.update(torch.cat(each).cpu().numpy().tobytes())
    return digest.hexdigest()


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    seen: set[int] = set()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor) and value.numel():
            if value.data_ptr() in seen:  # tied weights
                continue
            seen.add(value.data_ptr())
            yield name, value


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).contiguous().view(torch.uint8)
