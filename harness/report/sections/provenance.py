"""Provenance: what it was made with, from what, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from harness.report import formatting
from harness.report.methods import methods
from harness.report.section import Column, Section, register, render_template, table, text_column
from harness.report.snippets import commands

if TYPE_CHECKING:
    from markupsafe import Markup

    from harness.results import StudyResults


def provenance_table(results: StudyResults) -> pd.DataFrame:
    """What the study noted about itself: columns `item` (a dotted path) and `value`."""
    attributes = results.attributes
    rows = [
        *_flat(results.provenance, ""),
        *_flat(attributes.get("dtype") or {}, "dtype"),
        *_flat(attributes.get("engine") or {}, "engine"),
        *_memory(attributes.get("base_memory")),
    ]
    return pd.DataFrame(rows, columns=["item", "value"], dtype=object)


def seed_table(results: StudyResults) -> pd.DataFrame:
    """The seeds of each stage: columns `stage`, `seeds` (as text), `trials`, `fresh`.

    `fresh` says that no other stage used one of these seeds.
    """
    used = {
        str(stage): sorted({int(seed) for seed in group["seed"]})
        for stage, group in results.trials.groupby("stage", sort=False)
    }
    counts = results.trials["stage"].value_counts()
    rows = [
        (
            stage,
            ", ".join(map(str, seeds)),
            int(counts[stage]),
            not any(set(seeds) & set(others) for name, others in used.items() if name != stage),
        )
        for stage, seeds in used.items()
    ]
    return pd.DataFrame(rows, columns=["stage", "seeds", "trials", "fresh"])


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """What was noted, and the seeds."""
    return {"provenance": provenance_table(results), "seeds": seed_table(results)}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    sweep = yaml.safe_dump(
        dict(results.sweep), sort_keys=False, allow_unicode=True, default_flow_style=None
    )
    return render_template(
        "provenance.html.j2",
        noted=_facts(provenance_table(results)),
        seeds=_seeds(seed_table(results)),
        dirty=_dirty(results.provenance),
        sweep=sweep if results.sweep else "",
        commands=commands(results),
        methods=methods(results),
    )


def _facts(frame: pd.DataFrame) -> Markup:
    value = Column("Value", lambda row: row["value"], numeric=False, wide=True)
    return table(
        frame,
        [text_column("Item", "item"), value],
        caption="Versions, machine, digests and times, recorded while the study ran.",
    )


def _seeds(frame: pd.DataFrame) -> Markup:
    fresh = Column(
        "Fresh", lambda row: "yes" if row["fresh"] else "shared with a stage", numeric=False
    )
    return table(
        frame,
        [text_column("Stage", "stage"), text_column("Seeds", "seeds", wide=True), fresh],
        caption="Seeds of each stage; fresh seeds are used by no other stage.",
    )


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        yield path, ", ".join(str(item) for item in value)
    else:
        yield path, formatting.MISSING if formatting.missing(value) else str(value)


def _memory(sizes: Mapping[str, int] | None) -> Iterator[tuple[str, str]]:
    """What the frozen weights take."""
    if sizes is None:
        return
    linear, plain = sizes["linear"], sizes["linear_in_bfloat16"]
    share = f", {100 * linear / plain:.0f} % of what bfloat16 takes" if plain else ""
    yield "base.linear_layers", f"{linear / 2**20:.1f} MiB{share}"
    yield "base.other_weights", f"{sizes['rest'] / 2**20:.1f} MiB (embeddings, output head, norms)"


def _dirty(value: Any) -> bool:
    # The flag may stand at the top or beside the commit.
    if not isinstance(value, Mapping):
        return False
    return value.get("dirty") is True or any(_dirty(inner) for inner in value.values())


register(Section("provenance", "Provenance", 70, render, tables))
