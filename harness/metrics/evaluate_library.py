"""Any metric of the `evaluate` library: a script beside task.yaml, or a name on the hub.

`evaluate:./my_metric.py` is a script (or a folder with one of its own name) in the task's folder
and needs no network; `evaluate:rouge` is fetched from the hub once, unless it is in the library's
cache. What stands behind `#` picks one of several returned values: `evaluate:rouge#rougeL`.

A metric is computed for each example by itself and averaged, so that it can be bootstrapped. What
is defined on a whole corpus, such as BLEU, becomes a mean over examples, which is another number
than the one that papers print; what needs several examples, such as a correlation, is refused.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Final

from harness.errors import UserError, did_you_mean
from harness.metrics.metric import Metric, no_class_values

#: What the names of such metrics begin with.
PREFIX: Final = "evaluate:"
_KINDS: Final = ("pairs", "choice")
_INPUTS: Final = {"predictions", "references"}


def find(name: str, folder: Path) -> Metric:
    """The metric of that name, ready to score.

    It says neither direction (that is the task's to say) nor scale.

    Args:
        name: `evaluate:`, a path or a name of the library, perhaps `#` and a returned value.
        folder: the task's, which a path is relative to.

    Raises:
        UserError: there is no such metric, it cannot be loaded or had, or it asks for more than
            predictions and references.
    """
    source, _, key = name.removeprefix(PREFIX).partition("#")
    script = _script(name, source, folder)
    module = _load(name, source, script)
    features = module.features[0] if isinstance(module.features, list) else module.features
    if set(features) != _INPUTS:
        raise UserError(
            f"{name}: asks for {', '.join(sorted(features))}; "
            "a metric of predictions and references is right"
        )
    numbered = str(getattr(features["references"], "dtype", "")).startswith("int")
    return Metric(
        name=name,
        form="mean",
        direction="",
        scale=1.0,
        unit=key or Path(source).stem,
        score=partial(_score, name=name, module=module, key=key, numbered=numbered),
        breakdown=no_class_values,
        kinds=_KINDS,
        digest=_digest(script),
    )


def _script(name: str, source: str, folder: Path) -> Path | None:
    """The script or its folder; None if the source is a name of the library."""
    if not source:
        raise UserError(f"{name}: names no metric; such as {PREFIX}./my_metric.py is right")
    if source[0] not in "./~" and not source.endswith(".py"):
        return None
    path = folder / Path(source).expanduser()
    if path.is_file() or (path / f"{path.resolve().name}.py").is_file():
        return path
    others = [f"./{one.name}" for one in sorted(folder.glob("*.py"))]
    hint = did_you_mean(source, others) if others else f"{folder} holds no script"
    raise UserError(f"{name}: there is no script {path}; {hint}")


def _load(name: str, source: str, script: Path | None) -> Any:
    import evaluate  # imports datasets and what comes with it, which takes seconds

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        evaluate.config.HF_EVALUATE_OFFLINE = True
    place = source if script is None else str(script.resolve())
    try:
        return evaluate.load(place, keep_in_memory=True)
    except Exception as fault:
        if script is not None:
            # where a script has no class for it to call, the library calls None
            empty = isinstance(fault, TypeError) and "'NoneType' object" in str(fault)
            why = "it has no class made of evaluate.Metric" if empty else _told(fault)
            raise UserError(
                f"{name}: {script} cannot be loaded as a metric of the evaluate library ({why})"
            ) from None
        raise UserError(
            f"{name}: neither in the evaluate library's cache nor to be had from the hub "
            f"({_told(fault)}); a script in the task's folder is named {PREFIX}./{source}.py"
        ) from None


def _digest(script: Path | None) -> str:
    if script is None:
        return ""
    files = [script] if script.is_file() else sorted(script.rglob("*.py"))
    whole = hashlib.sha256()
    for file in files:
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _score(
    prediction: str | None,
    reference: str,
    classes: tuple[str, ...],
    *,
    name: str,
    module: Any,
    key: str,
    numbered: bool,
) -> tuple[float, ...]:
    """What the module gives for one example, and 1 for the example, at the reference's class.

    Raises:
        UserError: the module raises, or gives no number that can be used.
        ValueError: the reference is none of several classes.
    """
    if len(classes) > 1 and reference not in classes:
        raise ValueError(f"class {reference!r} is none of {list(classes)}")
    found: Any = prediction or ""  # an answer that cannot be read is an empty one
    wanted: Any = reference
    if numbered and reference in classes:
        # Modules that ask for whole numbers mean the classes' places; -1 is none of them.
        found = classes.index(prediction) if prediction in classes else -1
        wanted = classes.index(reference)
    try:
        given = module.compute(predictions=[found], references=[wanted])
    except Exception as fault:
        raise UserError(
            f"{name}: raised {_told(fault)} on prediction {_short(found)} and reference "
            f"{_short(wanted)}"
        ) from None
    value = _picked(name, given, key)
    place = classes.index(reference) if reference in classes else 0
    row = [0.0] * (2 * len(classes))
    row[2 * place : 2 * place + 2] = value, 1.0
    return tuple(row)


def _picked(name: str, given: Any, key: str) -> float:
    numbers = {
        str(one): number
        for one, value in (given.items() if isinstance(given, Mapping) else ())
        if (number := _number(value)) is not None
    }
    if not numbers:
        raise UserError(f"{name}: gave {_short(given)}; a number under a name is right")
    if key and key not in numbers:
        raise UserError(f"{name}: gives no number '{key}'; {did_you_mean(key, numbers)}")
    if not key and len(numbers) > 1:
        choices = ", ".join(f"{name}#{one}" for one in numbers)
        raise UserError(f"{name}: gives several numbers; pick one: {choices}")
    value = numbers[key] if key else next(iter(numbers.values()))
    if not math.isfinite(value):
        raise UserError(
            f"{name}: gave {value} for one example; a metric that has a value for each example "
            "by itself is right"
        )
    return value


def _number(value: Any) -> float | None:
    # some modules give a list with one number for each example
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if getattr(value, "ndim", None) in {0, 1} and getattr(value, "size", 0) == 1:
        value = value.item()
    return float(value) if isinstance(value, Real) else None


def _told(fault: BaseException) -> str:
    text = " ".join(str(fault).split())[:200]
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
