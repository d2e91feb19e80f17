"""Chooses how many workers a study gets, and how many threads each.

What the user said holds; then what the study was made with; else the machine decides, and where
the base is large enough for that to pay, a few steps of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from harness.errors import UserError
from harness.sweep import Sweep
from harness.workers import local
from harness.workers.local import Crew
from harness.workers.pace import pace

#: Bytes of weights from which it is measured. Smaller bases do not keep two threads busy: there
#: the rule holds (`benchmarks.growth --parts workers,threads`).
LEAST: Final = 128 << 20
_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.gguf")


def choose(
    sweep: Sweep,
    cuda: Callable[[], bool],
    noted: Mapping[str, Any] | None,
    least: int = LEAST,
) -> Crew:
    """The crew of a study.

    Args:
        sweep: what the user said, and what is trained.
        cuda: whether trials run on a GPU; asked only where that decides.
        noted: what the study has noted about itself, if it goes on.
        least: bytes of weights from which it is measured.
    """
    rule = local.crew(sweep.workers, sweep.threads, cuda)
    if sweep.workers is not None or sweep.threads is not None:
        return rule
    if noted is not None:
        threads = int(noted["threads"])
        # Another machine may have fewer cores, or more.
        return Crew(max(1, rule.workers * rule.threads // threads), threads)
    if rule.workers == 1 or _bytes(sweep) < least:
        return rule
    return _faster(sweep, rule, Crew(rule.workers // 2, 2 * rule.threads))


def _faster(sweep: Sweep, rule: Crew, fewer: Crew) -> Crew:
    """Fewer workers are taken if they are as fast: they need less memory."""
    paces = {crew: pace(sweep, crew.workers, crew.threads) for crew in (rule, fewer)}
    told = ", ".join(
        f"{crew}: {'did not run' if found is None else f'{found:.0f} tokens a second'}"
        for crew, found in paces.items()
    )
    one, other = paces[rule], paces[fewer]
    chosen = fewer if other is not None and (one is None or other >= one) else rule
    return replace(chosen, why=told)


def _bytes(sweep: Sweep) -> int:
    """Size of the base's files; 0 where there are none here yet."""
    from harness.models.base_model import locate

    try:
        place = locate(sweep.model)
    except UserError:
        return 0  # told by whoever loads it
    if not place.local:
        return 0
    folder = Path(place.path)
    found = [file for pattern in _WEIGHTS for file in folder.glob(pattern)]
    if "gguf_file" in place.keywords:
        found = [folder / place.keywords["gguf_file"]]
    return sum(file.stat().st_size for file in found)
