"""Task folders with real files, for tests of how rows are prepared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

PROMPTS = {"entities": "T: {text}\nE:", "pairs": "{input}\nA:", "choice": "{input}\nC:"}
METRICS = {"entities": "entity_f1", "pairs": "rougeL", "choice": "accuracy"}


def write_rows(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_task(folder: Path, kind: str, **keys: Any) -> str:
    """Writes a task.yaml beside its rows; returns the folder as `load_task` takes it."""
    metric = METRICS[kind]
    body = {
        "name": "mine",
        "summary": "made for a test",
        "kind": kind,
        "prompt": PROMPTS[kind],
        "metrics": [metric],
        "objective": {"metric": metric, "direction": "maximize", "margin": 0.02},
        **keys,
        "data": {"folder": ".", **keys.get("data", {})},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return f"{folder}/"


def entity_row(name: str, label: str, surface: str, text: str = "") -> dict[str, Any]:
    """A row with one entity, which ends its text."""
    text = f"{text or f'Row {name} has'} {surface}"
    start = len(text) - len(surface)
    entity = {"start": start, "end": len(text), "label": label, "text": surface}
    return {"id": name, "text": text, "entities": [entity]}


def pair_row(name: str, output: str, text: str = "", **more: Any) -> dict[str, Any]:
    """A row with an input and an output."""
    return {"id": name, "input": text or f"input {name}", "output": output, **more}
