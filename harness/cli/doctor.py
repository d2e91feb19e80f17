"""`doctor`: what works on this machine, what does not, and what to do about it.

Each check yields lines. It tries a little of the real thing instead of believing a version
number, and changes nothing.
"""

import os
import shutil
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import typer

from harness.cli.options import Results

if TYPE_CHECKING:
    import torch

GIB: Final = 2**30
#: Bytes that the default sweep needs: its memory, and room for databases and adapters.
MEMORY_NEEDED: Final = 3 * GIB
DISK_NEEDED: Final = GIB // 2
DISK_RECOMMENDED: Final = 3 * GIB
#: Seconds that the hub has to answer.
HUB_TIMEOUT: Final = 4.0
#: Largest error that NF4 may make on weights of standard deviation 1 (its widest bin is 0.30 of
#: the block's largest weight, which is below 4 here; half a bin is 0.6).
NF4_ERROR: Final = 0.7
#: Libraries that are imported by another name than they are installed by.
_MODULES: Final = {"pyyaml": "yaml", "scikit-learn": "sklearn", "sqlalchemy": "sqlalchemy"}
_INDENT: Final = " " * 19


class Line(NamedTuple):
    """One finding.

    Attributes:
        level: `ok`; `warn`, something is left out or slower; `no`, it does not work.
        what: what was checked.
        finding: what the check showed, and what it means.
        advice: what to do, if anything.
        needed: whether no sweep runs without it.
    """

    level: Literal["ok", "warn", "no"]
    what: str
    finding: str
    advice: str = ""
    needed: bool = False


def doctor(results: Results = Path("results")) -> None:
    """Check what works on this machine.

    Checks Python, the libraries, the processor, memory, GPU, 4-bit weights, the model hub and
    the disk. Exit code 0, or 1 if something that every sweep needs is broken.
    """
    checks: tuple[Callable[[], Iterator[Line]], ...] = (
        python,
        libraries,
        embedded_model,
        processor,
        memory,
        gpu,
        quantization,
        hub,
        lambda: disk(results),
    )
    broken = 0
    for check in checks:
        for line in guarded(check):
            print(formatted(line), flush=True)
            broken += line.level == "no" and line.needed
    if broken:
        print(f"\n{broken} required component(s) do not work.")
        raise typer.Exit(1)
    print("\nEverything that a sweep needs works.")


def guarded(check: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """A check's lines; if the check itself fails, a line that says so."""
    name = getattr(check, "__name__", "check")
    try:
        yield from check()
    except Exception as fault:
        yield Line("no", name, f"could not be checked: {type(fault).__name__}: {fault}")


def formatted(line: Line) -> str:
    """A finding as it is printed, at most 99 columns wide."""
    wrapper = textwrap.TextWrapper(99, subsequent_indent=_INDENT)
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    text = wrapper.fill(f"{line.level:<4} {line.what:<13} {line.finding}")
    return f"{text}\n{_INDENT}-> {line.advice}" if line.advice else text


def python() -> Iterator[Line]:
    """The interpreter."""
    finding = f"{sys.version.split()[0]}, {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - the code runs from a checkout as well
        yield Line("no", "python", finding, "use Python 3.11 or later", needed=True)
    else:
        yield Line("ok", "python", finding)


def libraries() -> Iterator[Line]:
    """Every library that is needed, with its release against the range that was tested."""
    try:
        requirements = requires("harness") or []
    except PackageNotFoundError:
        finding = "harness is not installed: the tested releases are not known"
        yield Line("warn", "libraries", finding, "make venv, or pip install -e .")
        return
    releases = []
    for requirement in requirements:
        if "extra ==" not in requirement:
            line = check_requirement(requirement)
            if line.level == "ok":
                releases.append(line.finding)
            else:
                yield line
    yield Line("ok", "libraries", ", ".join(releases))


def check_requirement(text: str) -> Line:
    """Whether the library of a requirement is installed, in a tested release, and imports.

    The requirement is written as in pyproject.toml, such as `torch<3,>=2.13`.
    """
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    name, install = requirement.name, f"pip install '{text}'"
    try:
        release = version(name)
    except PackageNotFoundError:
        return Line("no", name, "is not installed", install, needed=True)
    if not requirement.specifier.contains(release, prereleases=True):
        finding = f"{release} is outside the tested range ({requirement.specifier})"
        return Line("warn", name, finding, install)
    try:
        import_module(_MODULES.get(name.lower(), name.replace("-", "_")))
    except Exception as fault:
        finding = f"{release} cannot be imported: {type(fault).__name__}: {fault}"
        return Line("no", name, finding, f"pip install --force-reinstall {name}", True)
    return Line("ok", name, f"{name} {release}")


def embedded_model() -> Iterator[Line]:
    """The base model inside the package."""
    from harness import embedded

    names = embedded.names()
    if names:
        size = sum(file.stat().st_size for n in names for file in embedded.path(n).glob("*"))
        models = ", ".join(f"builtin:{name}" for name in names)
        yield Line("ok", "base model", f"{models} ({size / 1e6:.1f} MB), no download needed")
    else:
        advice = "install the package again"
        yield Line("no", "base model", "builtin:tiny is missing", advice, needed=True)


def processor() -> Iterator[Line]:
    """Cores, torch's threads, and whether bfloat16 is worth it on this processor."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Line("ok", "processor", f"{cores} core(s), torch uses {torch.get_num_threads()}")
    ratio = matmul_seconds(torch.float32) / matmul_seconds(torch.bfloat16)
    if ratio > 1.1:
        finding = f"bf16 matrix products are {ratio:.1f} times as fast as fp32 ones"
        yield Line("ok", "bf16", f"{finding}: `--set model.dtype=bfloat16` may be faster")
    else:
        finding = f"bf16 matrix products run at {ratio:.1f} times the speed of fp32 ones"
        yield Line("ok", "bf16", f"{finding}: keep float32 (the default)")


def matmul_seconds(dtype: "torch.dtype", rounds: int = 7) -> float:
    """Seconds of one product of matrices as they occur in a small model, the fastest of some."""
    import torch

    a = torch.ones(512, 768, dtype=dtype)
    b = torch.ones(768, 768, dtype=dtype)
    fastest = float("inf")
    for _ in range(rounds + 1):  # the first warms up, and is never the fastest
        start = time.perf_counter()
        torch.matmul(a, b)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def memory() -> Iterator[Line]:
    """Memory that is free, within the limit of the container if there is one."""
    import psutil

    free, limit = int(psutil.virtual_memory().available), container_limit()
    free = free if limit is None else min(free, limit)
    finding = f"{free / GIB:.1f} GiB free"
    if free < MEMORY_NEEDED:
        advice = "close other programs, or use --workers 1 and a smaller micro_batch_size"
        yield Line("warn", "memory", f"{finding}; two workers take up to 3 GiB", advice)
    else:
        yield Line("ok", "memory", finding)


def container_limit(file: Path = Path("/sys/fs/cgroup/memory.max")) -> int | None:
    """Bytes that the container may take (cgroup v2), None without a limit."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def gpu() -> Iterator[Line]:
    """CUDA devices, and what they can do."""
    import torch

    if not torch.cuda.is_available():
        reason = "this torch is a CPU build" if torch.version.cuda is None else "no GPU available"
        yield Line("ok", "gpu", f"{reason}: everything runs on the processor")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if device.major >= 8 else "no fast bf16 (use float16 or float32)"
        size = f"{device.total_memory / GIB:.0f} GiB"
        finding = f"{device.name}, {size}, CUDA {torch.version.cuda}, {bf16}"
        yield Line("ok", f"gpu {index}", finding)
    yield _check_nf4("cuda")


def quantization() -> Iterator[Line]:
    """Whether bitsandbytes can hold weights in 4 bits on the processor."""
    yield _check_nf4("cpu")


def _check_nf4(device: str) -> Line:
    what = f"4-bit {device}"
    try:
        error = nf4_error(device)
    except Exception as fault:
        finding = f"bitsandbytes does not work: {type(fault).__name__}: {fault}"
        return Line("warn", what, finding, "leave model.quantization at none")
    if error > NF4_ERROR:
        finding = f"NF4 reproduces weights with an error of {error:.2f}"
        return Line("warn", what, finding, "leave model.quantization at none")
    return Line("ok", what, "NF4 works (model.quantization: nf4)")


def nf4_error(device: str) -> float:
    """Largest difference between random normal weights and their NF4 copy on `cpu` or `cuda`."""
    import torch
    from bitsandbytes import functional

    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    packed, state = functional.quantize_4bit(weights, quant_type="nf4")
    restored = functional.dequantize_4bit(packed, state)
    return float((weights - restored).abs().max())


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
    """Whether the server of a URL answers at all within so many seconds."""
    answered = threading.Event()

    def request_head() -> None:
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

    # Resolving the name has no timeout of its own: a daemon thread may outlive the wait.
    thread = threading.Thread(target=request_head, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def disk(results: Path) -> Iterator[Line]:
    """Whether studies can be written to a folder, which need not exist."""
    folder = results.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    finding = f"{free / GIB:.1f} GiB free for {results}"
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        finding, advice = f"{folder} cannot be written to", "use --results FOLDER"
        yield Line("no", "disk", finding, advice, needed=True)
    elif free < DISK_NEEDED:
        yield Line("no", "disk", finding, "free some space, or use --results FOLDER", needed=True)
    elif free < DISK_RECOMMENDED:
        yield Line("warn", "disk", f"{finding}: little for adapters of a larger model")
    else:
        yield Line("ok", "disk", finding)
