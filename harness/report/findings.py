"""The costly analyses that several sections and tables show, done once for each study.

Results are kept as long as the study's tables live. Knows nothing of pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.ablation import ablation_table, all_cells, interaction_table, pairs_of
from harness.analysis.claim_tests import ClaimResult, evaluate_claims
from harness.analysis.explanation import Step, explain
from harness.analysis.recommendation import Recommendation, recommend
from harness.analysis.scores import cached

if TYPE_CHECKING:
    import pandas as pd

    from harness.results import StudyResults


def recommendation(results: StudyResults) -> Recommendation:
    """What the study recommends."""
    return cached(results, "recommendation", lambda: recommend(results))


def ablation(results: StudyResults, factors: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """The ablation tables of these factors."""

    def make() -> dict[str, pd.DataFrame]:
        whole = all_cells(results)
        return {name: ablation_table(results, name, whole) for name in factors}

    return dict(cached(results, "ablation: " + ", ".join(factors), make))


def interactions(results: StudyResults) -> dict[str, pd.DataFrame]:
    """The two-way table of each pair."""

    def make() -> dict[str, pd.DataFrame]:
        return {name: interaction_table(results, name) for name in pairs_of(results)}

    return dict(cached(results, "interactions", make))


def chain(results: StudyResults) -> list[Step]:
    """The steps from trial numbers to the verdict."""
    return list(cached(results, "chain", lambda: explain(results)))


def claims(results: StudyResults) -> list[ClaimResult]:
    """What the study says of each claim."""
    return list(cached(results, "claims", lambda: evaluate_claims(results)))
