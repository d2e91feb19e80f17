"""Where a study comes from: versions, machine, commit. Read once, stored with the study."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "harness", "torch", "transformers", "peft", "optuna", "bitsandbytes", "datasets", "evaluate",
    "scikit-learn", "pandas", "numpy", "scipy", "statsmodels", "tokenizers", "safetensors",
)  # fmt: skip


def collect(extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is known before the first trial.

    Args:
        extra: digests and settings to keep beside it.

    Returns:
        Plain values: `started` (UTC, ISO 8601), `python`, `platform`, `processor`, `cores`,
        `packages`, `commit`, `dirty`, `command`, and what `extra` holds.
    """
    commit, dirty = _commit()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit,
        "dirty": dirty,
        "command": f"python -m harness {shlex.join(sys.argv[1:])}",
        **(extra or {}),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the checkout that runs, or (None, None) for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head.strip(), bool(_git(root, "status", "--porcelain").strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout
