"""Claims: rules of thumb from LoRA guides, and what this study says of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from harness.analysis import claim_tests
from harness.report.section import (
    Column,
    Record,
    Section,
    badge,
    register,
    render_template,
    table,
    text_column,
)
from harness.report.snippets import claim_advice, rerun_command

if TYPE_CHECKING:
    from harness.results import StudyResults

_TAGS = {"supported": "pick", "contradicted": "worse", "not decided": "open", "no data": "plain"}


def tables(results: StudyResults) -> dict[str, pd.DataFrame]:
    """One table: a row for each comparison of each claim."""
    return {"claims": claim_tests.claims_table(results, claim_tests.evaluate_claims(results))}


def render(results: StudyResults) -> str:
    """The section's HTML."""
    judged = claim_tests.evaluate_claims(results)
    rows = [
        {
            "sentence": finding.claim.sentence,
            "source": finding.claim.source,
            "rule": finding.claim.rule,
            "verdict": finding.verdict,
            "numbers": [claim_tests.comparison_text(results, one) for one in finding.comparisons]
            or [claim_tests.missing_data_message(results, finding)],
        }
        for finding in judged
    ]
    counts = {name: sum(row["verdict"] == name for row in rows) for name in _TAGS}
    return render_template(
        "claims.html.j2",
        counts=counts,
        tested=len(rows) - counts["no data"],
        body=_claim_table(pd.DataFrame(rows)),
        margin=results.objective.margin_text,
        command=f"{rerun_command(results)} --claims",
        runnable=any(finding.missing for finding in judged),
        advice=claim_advice(results, judged),
    )


def _claim_table(frame: pd.DataFrame) -> Markup:
    return table(
        frame,
        [
            Column(
                "Claim",
                lambda row: str(row["sentence"]),
                numeric=False,
                wide=True,
                note=lambda row: str(row["source"]),
            ),
            Column("Here", _verdict, numeric=False),
            Column("Numbers, with 95 % intervals", _numbers, numeric=False, wide=True),
            text_column("Supported if", "rule", wide=True),
        ],
        caption="Rules of thumb on the ablation's rows: validation, each cell at its own rate.",
    )


def _verdict(row: Record) -> Markup:
    return badge(str(row["verdict"]), _TAGS[str(row["verdict"])])


def _numbers(row: Record) -> Markup:
    return Markup("<br>").join(row["numbers"])


register(Section("claims", "Claims", 45, render, tables))
