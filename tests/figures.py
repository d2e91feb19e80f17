"""Reads the charts of a page back from its HTML."""

from __future__ import annotations

import json
import re
from typing import Any

_FIGURE = re.compile(r'<figure class="chart[^"]*" hidden>.*?</figure>', re.DOTALL)
_SPEC = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)


def groups_in(text: str) -> list[list[dict[str, Any]]]:
    """The figures of each `<figure>`, of which some hold several."""
    return [[json.loads(spec) for spec in _SPEC.findall(part)] for part in _FIGURE.findall(text)]


def figures_in(text: str) -> list[dict[str, Any]]:
    """All figures, each with its `data` and `layout`."""
    return [figure for group in groups_in(text) for figure in group]


def series_of(figure: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The traces that a figure's legend names, by their name."""
    return {
        trace["name"]: trace
        for trace in figure["data"]
        if trace.get("name") and trace.get("showlegend", True)
    }


def marks(figure: dict[str, Any]) -> int:
    """How many marks have values to show."""
    return sum(
        sum(bool(text) for text in trace.get("hovertext", ()))
        for trace in figure["data"]
        if "markers" in trace.get("mode", "")
    )
