"""Settings of a sweep that are usually left alone, each readable as a level of a factor.

A level is one word without blanks, as Optuna and the tables keep it. Knows YAML values, nothing
of PEFT or torch.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

_NAME: Final = re.compile(r"[\w.]+")


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = "none" if value is None else str(value)
        if text not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return text

    return read


def _switch(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return _one_of("on", "off")(value)


def _ratio(value: Any) -> str:
    if value in (None, "own"):
        return "own"
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = 0.0
    if isinstance(value, bool) or not 0 < ratio < float("inf"):
        raise ValueError(f"{value!r} is no number above 0")
    return f"{ratio:g}"


def _layers(value: Any) -> str:
    """`all`, `upper_half`, or numbers of layers."""
    if isinstance(value, str) and not value.replace(",", "").isdigit():
        return _one_of("all", "upper_half", "lower_half")(value)
    numbers = str(value).split(",") if isinstance(value, str | int) else value
    try:
        chosen = sorted({int(number) for number in numbers})
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no list of layers") from None
    if not chosen or chosen[0] < 0:
        raise ValueError(f"{value!r} is no list of layers")
    return ",".join(map(str, chosen))


def _names(value: Any) -> str:
    if value in (None, "none", [], ()):
        return "none"
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        raise ValueError(f"{value!r} is no list of modules")
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise ValueError(f"{value!r} is no list of modules")
    return ",".join(sorted(names))


def _ranks(value: Any) -> str:
    """A mapping of module names to ranks."""
    if value in (None, "none", {}):
        return "none"
    if isinstance(value, str):
        pairs = [part.split(":") for part in value.split(",")]
    elif isinstance(value, Mapping):
        pairs = [[str(name), str(rank)] for name, rank in value.items()]
    else:
        pairs = [[]]
    for pair in pairs:
        if len(pair) != 2 or not _NAME.fullmatch(pair[0]) or not pair[1].isdigit():
            raise ValueError(f"{value!r} is no mapping of modules to ranks")
        if int(pair[1]) < 1:
            raise ValueError(f"{value!r}: rank {pair[1]} is below 1")
    return ",".join(f"{name}:{int(rank)}" for name, rank in sorted(pairs))


#: How a level of each is read from YAML; raises ValueError.
READERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "b_rate_ratio": _ratio,
    "bias": _one_of("none", "all", "lora_only"),
    "layers": _layers,
    "rank_pattern": _ranks,
    "modules_to_save": _names,
    "optimizer": _one_of("adamw", "adamw_8bit", "paged_adamw_8bit"),
    "compute_dtype": _one_of("base", "float32", "bfloat16", "float16"),
    "gradient_checkpointing": _switch,
}
