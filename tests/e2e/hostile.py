"""Studies whose every text from outside is meant to harm: to run, to flip, to burst a page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from tests.e2e.pages import with_texts

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Hebrew letters, which run from right to left by themselves.
HEBREW: Final = "\u05d0\u05d1\u05d2"
BAD: Final = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'` &amp; {{ 7*7 }} "
    f"\u202eflip \u2067 \x07\x1b[31m\x9b \U0001f4a5 {HEBREW}"
)
#: Half of a surrogate pair, which neither a table nor a file can hold, but JSON can.
HALF: Final = "\ud800"
LONG: Final = BAD + "x" * 10_000
_WORDS: Final[Mapping[str, str]] = {
    "lora": f"lora {BAD}",
    "dora": f"dora {BAD}",
    "qv": LONG,
    "ner_medical": BAD,
    "builtin:tiny": LONG,
    "CONDITION": f"condition {BAD}",
    "local-0": LONG,
    "loss is NaN at step 12": LONG,
    "pruned at step 16": BAD,
    "entity_f1": f"f1 {BAD}",
    "points of F1": LONG,
    "dictionary": f"dictionary {BAD}",
    "2.13.0": LONG,
}
#: Parts of longer texts, such as keys of configurations and of pairs of factors.
_PARTS: Final = ("qv", "lora", "dora")


def hostile(results: StudyResults) -> StudyResults:
    """The study with names, settings, errors, answers and the sweep replaced, and odd numbers."""
    one = results.objective
    objective = dataclasses.replace(
        one, name=_word(one.name), unit=LONG, classes=tuple(map(_word, one.classes))
    )
    names = dict(zip(one.columns, objective.columns, strict=True))
    examples = _frame(results.examples.rename(columns=names)).assign(prediction=LONG)
    baselines = _frame(results.baselines.rename(columns=names)).assign(prediction=BAD)
    changed = dataclasses.replace(
        results,
        name=BAD,
        objective=objective,
        trials=_odd(_frame(results.trials), value=[math.inf, math.nan]),
        measurements=_odd(results.measurements, loss=[math.inf, math.nan], value=[-math.inf]),
        costs=_odd(results.costs, train_seconds=[math.nan, math.inf], peak_memory=[math.nan]),
        metrics=_frame(results.metrics),
        examples=examples,
        baselines=baselines,
        sweep={**_deep(results.sweep), BAD: LONG, "list": [BAD, LONG, HALF, math.nan, math.inf]},
        attributes={**_deep(results.attributes), "dropped": [BAD, LONG]},
        provenance={
            **_deep(results.provenance),
            BAD: LONG,
            "packages": {"harness": BAD + HALF},
            "half": HALF,
        },
    )
    if examples.empty:
        return changed
    return with_texts(changed, f"{LONG} ", f"<i>{BAD}</i>", f"label {BAD}", LONG)


def _word(text: str) -> str:
    if text in _WORDS:
        return _WORDS[text]
    for part in _PARTS:
        if part in text:
            return text.replace(part, _WORDS[part])
    return text


def _deep(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_deep(key): _deep(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(inner) for inner in value]
    return _word(value) if isinstance(value, str) else value


def _frame(frame: pd.DataFrame) -> pd.DataFrame:
    changed = frame.copy()
    for name in frame.columns:
        words = [_deep(value) for value in frame[name]]
        if any(isinstance(word, str) for word in words):
            changed[name] = pd.Series(words, index=frame.index, dtype=object)
    return changed


def _odd(frame: pd.DataFrame, **columns: list[float]) -> pd.DataFrame:
    """The frame with odd numbers from its third row on, where it has as many."""
    changed = frame.copy()
    for name, numbers in columns.items():
        values = frame[name].astype(float).tolist()
        if len(values) > 10:
            values[3 : 3 + len(numbers)] = numbers
        changed[name] = values
    return changed
