"""What `harness doctor` measures on the machine: processor, memory, GPU, 4-bit, hub, disk.

Each probe does a little of the real thing instead of believing a version number.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.cli.finding import Line

if TYPE_CHECKING:
    import torch

GIB: Final = 2**30
#: Bytes that the default sweep needs: its memory, and room for databases and adapters.
MEMORY_NEEDED: Final = 3 * GIB
DISK_NEEDED: Final = GIB // 2
DISK_WANTED: Final = 3 * GIB
#: Seconds that the hub is waited for.
HUB_TIMEOUT: Final = 4.0
#: Largest error that NF4 may make on weights of standard deviation 1 (its widest bin is 0.30 of
#: the block's largest weight, which is below 4 here; half a bin is 0.6).
NF4_ERROR: Final = 0.7


def processor() -> Iterator[Line]:
    """Cores, torch's threads, and whether bf16 pays on this processor."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Line("ok", "processor", f"{cores} core(s), torch uses {torch.get_num_threads()}")
    ratio = matmul_seconds(torch.float32) / matmul_seconds(torch.bfloat16)
    if ratio > 1.1:
        found = f"bf16 matrix products are {ratio:.1f} times as fast as fp32 ones"
        yield Line("ok", "bf16", f"{found}: `--set model.dtype=bfloat16` may pay")
    else:
        found = f"bf16 matrix products run at {ratio:.1f} times the speed of fp32 ones"
        yield Line("ok", "bf16", f"{found}: float32 (the default) is right here")


def matmul_seconds(dtype: torch.dtype, rounds: int = 7) -> float:
    """Seconds of one product of matrices as they occur in a small model, the fastest of some.

    Args:
        dtype: type of the numbers.
        rounds: how often it is measured.
    """
    import torch

    left = torch.ones(512, 768, dtype=dtype)
    right = torch.ones(768, 768, dtype=dtype)
    best = float("inf")
    for _ in range(rounds + 1):  # the first warms up, and is never the fastest
        start = time.perf_counter()
        torch.matmul(left, right)
        best = min(best, time.perf_counter() - start)
    return best


def memory() -> Iterator[Line]:
    """Memory that is free, within the limit of the container if there is one."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = container_limit()
    if limit is not None:
        free = min(free, limit)
    found = f"{free / GIB:.1f} GiB free"
    if free < MEMORY_NEEDED:
        advice = "close other programs, or use --workers 1 and a smaller micro_batch_size"
        yield Line("warn", "memory", f"{found}; two workers take up to 3 GiB", advice)
    else:
        yield Line("ok", "memory", found)


def container_limit(file: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Bytes that the container may take, None without a limit.

    Args:
        file: where the kernel tells (cgroup v2).
    """
    try:
        said = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(said) if said.isdecimal() else None


def gpu() -> Iterator[Line]:
    """CUDA devices, and what they can do."""
    import torch

    if not torch.cuda.is_available():
        built = "this torch is a CPU build" if torch.version.cuda is None else "none was found"
        yield Line("ok", "gpu", f"{built}: everything runs on the processor")
        return
    for index in range(torch.cuda.device_count()):
        seen = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if seen.major >= 8 else "no fast bf16 (use float16 or float32)"
        found = (
            f"{seen.name}, {seen.total_memory / GIB:.0f} GiB, CUDA {torch.version.cuda}, {bf16}"
        )
        yield Line("ok", f"gpu {index}", found)
    yield _quantised("cuda")


def quantisation() -> Iterator[Line]:
    """Whether bitsandbytes can hold weights in 4 bits on the processor."""
    yield _quantised("cpu")


def _quantised(device: str) -> Line:
    what = f"4-bit {device}"
    try:
        error = nf4_error(device)
    except Exception as fault:
        found = f"bitsandbytes does not work: {type(fault).__name__}: {fault}"
        return Line("warn", what, found, "leave model.quantization at none")
    if error > NF4_ERROR:
        found = f"NF4 gives weights back with an error of {error:.2f}"
        return Line("warn", what, found, "leave model.quantization at none")
    return Line("ok", what, "NF4 works (model.quantization: nf4)")


def nf4_error(device: str) -> float:
    """Largest difference between random normal weights and their NF4 copy.

    Args:
        device: `cpu` or `cuda`.
    """
    import torch
    from bitsandbytes import functional

    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = functional.quantize_4bit(weights, quant_type="nf4")
    back = functional.dequantize_4bit(packed, state)
    return float((weights - back).abs().max())


def hub() -> Iterator[Line]:
    """Whether models can be loaded by their hub id."""
    local = "builtin:tiny, folders and .gguf files work"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            yield Line("ok", "hub", f"switched off by {name}; {local}")
            return
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if reachable(address):
        yield Line("ok", "hub", f"{address} answers: hub ids work as model.name")
    else:
        advice = f"for hub ids: a network, or HF_ENDPOINT. Without: {local}"
        yield Line("warn", "hub", f"{address} does not answer: hub ids will not load", advice)


def reachable(address: str, seconds: float = HUB_TIMEOUT) -> bool:
    """Whether a server answers at all, waiting for so long and no longer.

    Args:
        address: URL of the server.
        seconds: time that it is given.
    """
    answered = threading.Event()

    def knock() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answered.set()
        except urllib.error.HTTPError as error:
            # A refusal is an answer, unless it comes from a proxy or a broken gateway.
            if error.code < 500 and error.code != 407:
                answered.set()
        except (OSError, ValueError):
            return

    # A look-up of the name cannot be timed out, so that it is left behind in a daemon thread.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def disk(results: Path) -> Iterator[Line]:
    """Whether studies can be written.

    Args:
        results: folder that they go to; it need not exist.
    """
    there = results.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.1f} GiB free for {results}"
    if not there.is_dir() or not os.access(there, os.W_OK):
        found, advice = f"{there} cannot be written to", "use --results FOLDER"
        yield Line("no", "disk", found, advice, needed=True)
    elif free < DISK_NEEDED:
        yield Line("no", "disk", found, "free some space, or use --results FOLDER", needed=True)
    elif free < DISK_WANTED:
        yield Line("warn", "disk", f"{found}: little for adapters of a larger model")
    else:
        yield Line("ok", "disk", found)
