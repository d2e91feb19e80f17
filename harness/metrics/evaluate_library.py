"""Metrics of the `evaluate` library: a script beside task.yaml, or a name on the hub.

`evaluate:./my_metric.py` is a script (or a folder with a script of its own name) in the task's
folder and needs no network; `evaluate:rouge` is downloaded once, unless the library has it in its
cache. `#` selects one of several returned values: `evaluate:rouge#rougeL`.

A metric is computed for each example by itself and averaged, so that it can be bootstrapped. A
corpus metric such as BLEU becomes a mean over examples, which is another number than papers
report; a metric that needs several examples, such as a correlation, is refused.
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

#: Prefix of the names of such metrics.
PREFIX: Final = "evaluate:"
_TASK_TYPES: Final = ("pairs", "choice")
_INPUTS: Final = {"predictions", "references"}


def load_metric(name: str, folder: Path) -> Metric:
    """Loads a metric.

    Its direction is empty: the library does not say, so task.yaml has to.

    Args:
        name: `evaluate:`, a path or a name of the library, optionally `#` and a returned value.
        folder: of the task; a path is relative to it.

    Raises:
        UserError: there is no such metric, it cannot be loaded, or it needs more than predictions
            and references.
    """
    source, _, key = name.removeprefix(PREFIX).partition("#")
    script = _script_path(name, source, folder)
    module = _load_module(name, source, script)
    features = module.features[0] if isinstance(module.features, list) else module.features
    if set(features) != _INPUTS:
        raise UserError(
            f"{name}: needs {', '.join(sorted(features))}; "
            "only metrics of predictions and references are supported"
        )
    numbered = str(getattr(features["references"], "dtype", "")).startswith("int")
    return Metric(
        name=name,
        form="mean",
        direction="",
        scale=1.0,
        unit=key or Path(source).stem,
        score=partial(_score_example, name=name, module=module, key=key, numbered=numbered),
        breakdown=no_class_values,
        task_types=_TASK_TYPES,
        digest=_script_digest(script),
    )


def _script_path(name: str, source: str, folder: Path) -> Path | None:
    """The script or its folder; None for a name of the library."""
    if not source:
        raise UserError(f"{name}: names no metric; write for example {PREFIX}./my_metric.py")
    if source[0] not in "./~" and not source.endswith(".py"):
        return None
    path = folder / Path(source).expanduser()
    if path.is_file() or (path / f"{path.resolve().name}.py").is_file():
        return path
    scripts = [f"./{file.name}" for file in sorted(folder.glob("*.py"))]
    hint = did_you_mean(source, scripts) if scripts else f"{folder} has no script"
    raise UserError(f"{name}: there is no script {path}; {hint}")


def _load_module(name: str, source: str, script: Path | None) -> Any:
    import evaluate  # imports datasets, which takes seconds

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        evaluate.config.HF_EVALUATE_OFFLINE = True
    source_path = source if script is None else str(script.resolve())
    try:
        return evaluate.load(source_path, keep_in_memory=True)
    except Exception as fault:
        if script is not None:
            # Without a metric class in the script, the library calls None.
            empty = isinstance(fault, TypeError) and "'NoneType' object" in str(fault)
            why = "it has no subclass of evaluate.Metric" if empty else _one_line(fault)
            raise UserError(
                f"{name}: {script} cannot be loaded as a metric of the evaluate library ({why})"
            ) from None
        raise UserError(
            f"{name}: not in the evaluate library's cache, and cannot be downloaded "
            f"({_one_line(fault)}); write a script in the task's folder as {PREFIX}./{source}.py"
        ) from None


def _script_digest(script: Path | None) -> str:
    if script is None:
        return ""
    files = [script] if script.is_file() else sorted(script.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _score_example(
    prediction: str | None,
    reference: str,
    classes: tuple[str, ...],
    *,
    name: str,
    module: Any,
    key: str,
    numbered: bool,
) -> tuple[float, ...]:
    """The module's value for one example, and 1 for the example, at the reference's class.

    Raises:
        UserError: the module raises, or returns no usable number.
        ValueError: the reference is none of several classes.
    """
    if len(classes) > 1 and reference not in classes:
        raise ValueError(f"class {reference!r} is none of {list(classes)}")
    predicted: Any = prediction or ""  # an answer that could not be parsed counts as empty
    expected: Any = reference
    if numbered and reference in classes:
        # Modules with integer features expect class indices; -1 is no class.
        predicted = classes.index(prediction) if prediction in classes else -1
        expected = classes.index(reference)
    try:
        output = module.compute(predictions=[predicted], references=[expected])
    except Exception as fault:
        raise UserError(
            f"{name}: raised {_one_line(fault)} on prediction {_shortened(predicted)} and "
            f"reference {_shortened(expected)}"
        ) from None
    value = _pick_value(name, output, key)
    index = classes.index(reference) if reference in classes else 0
    statistics = [0.0] * (2 * len(classes))
    statistics[2 * index : 2 * index + 2] = value, 1.0
    return tuple(statistics)


def _pick_value(name: str, output: Any, key: str) -> float:
    items = output.items() if isinstance(output, Mapping) else ()
    numbers = {str(k): number for k, value in items if (number := _number(value)) is not None}
    if not numbers:
        raise UserError(f"{name}: returned {_shortened(output)} instead of named numbers")
    if key and key not in numbers:
        raise UserError(f"{name}: returns no number '{key}'; {did_you_mean(key, numbers)}")
    if not key and len(numbers) > 1:
        choices = ", ".join(f"{name}#{name_}" for name_ in numbers)
        raise UserError(f"{name}: returns several numbers; select one: {choices}")
    value = numbers[key] if key else next(iter(numbers.values()))
    if not math.isfinite(value):
        raise UserError(
            f"{name}: returned {value} for a single example; only metrics that have a value for "
            "each example are supported"
        )
    return value


def _number(value: Any) -> float | None:
    # Some modules return a list with one number for each example.
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if getattr(value, "ndim", None) in {0, 1} and getattr(value, "size", 0) == 1:
        value = value.item()
    return float(value) if isinstance(value, Real) else None


def _one_line(fault: BaseException) -> str:
    text = " ".join(str(fault).split())[:200]
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def _shortened(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
