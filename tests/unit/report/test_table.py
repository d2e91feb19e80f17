"""Tests of `harness.report.section`."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pandas as pd

from harness.report.section import figures, table, tag, text

FRAME = pd.DataFrame({"name": ["<b>", "c"], "value": [1.5, math.nan]})


def test_cells_are_escaped_and_missing_ones_are_dashes() -> None:
    tree = ElementTree.fromstring(
        table(FRAME, [text("Name", "name"), figures("Value", "value")], caption="<i>")
    )
    assert [node.text for node in tree.iter("th")][2:] == ["<b>", "c"]
    assert [node.text for node in tree.iter("td")] == ["1.5", "\N{EN DASH}"]
    assert "".join(next(tree.iter("caption")).itertext()) == "<i>"


def test_rows_can_be_marked_and_carry_data() -> None:
    markup = table(
        FRAME,
        [text("Name", "name")],
        caption="c",
        mark=lambda row: "near" if row["value"] == 1.5 else "",
        data=lambda row: {"stage": row["name"]},
    )
    rows = list(ElementTree.fromstring(markup).iter("tr"))[1:]
    assert [row.get("class") for row in rows] == ["near", None]
    assert [row.get("data-stage") for row in rows] == ["<b>", "c"]


def test_a_sortable_table_keeps_exact_values() -> None:
    frame = pd.DataFrame({"value": [0.123456789, math.nan]})
    markup = table(
        frame,
        [figures("Value", "value", lambda value: f"{value:.1f}")],
        caption="c",
        sortable=True,
    )
    tree = ElementTree.fromstring(markup)
    assert [row[0].get("data-key") for row in list(tree.iter("tr"))[1:]] == ["0.123456789", ""]
    assert next(tree.iter("button")).text == "Value"


def test_units_stand_below_headings_and_tags_are_escaped() -> None:
    markup = table(FRAME, [figures("Value", "value", unit="MiB")], caption="c")
    assert "<small>MiB</small>" in markup
    assert "&lt;b&gt;" in tag("<b>")
