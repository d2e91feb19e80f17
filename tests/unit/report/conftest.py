"""Studies of three sizes and their pages, made once for all tests of the report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from harness.report import page
from tests import studies

if TYPE_CHECKING:
    from harness.results import StudyResults


@pytest.fixture(scope="session")
def full() -> StudyResults:
    return studies.make_results()


@pytest.fixture(scope="session")
def perplexity() -> StudyResults:
    return studies.make_results(objective=studies.PERPLEXITY)


@pytest.fixture(scope="session")
def likelihoods() -> StudyResults:
    """A perplexity with a wide margin, beside full fine-tuning."""
    return studies.make_results(
        objective=dataclasses.replace(studies.PERPLEXITY, margin=0.5),
        stages=("search", "ablate", "full", "confirm"),
    )


@pytest.fixture(scope="session")
def intents() -> StudyResults:
    """Accuracy over 77 classes, beside full fine-tuning."""
    return studies.make_results(
        objective=studies.ACCURACY,
        sizes={"validation": 200, "test": 600},
        stages=("search", "ablate", "full", "confirm"),
    )


@pytest.fixture(scope="session")
def summaries() -> StudyResults:
    """ROUGE, one score a text."""
    return studies.make_results(objective=studies.ROUGE)


@pytest.fixture(scope="session")
def searched() -> StudyResults:
    return studies.make_results(stages=("search",))


@pytest.fixture(scope="session")
def ablated() -> StudyResults:
    return studies.make_results(stages=("search", "ablate"))


@pytest.fixture(scope="session")
def one() -> StudyResults:
    return studies.one_trial_results()


@pytest.fixture(scope="session")
def empty() -> StudyResults:
    return studies.empty_results()


@pytest.fixture(scope="session")
def full_page(full: StudyResults) -> str:
    return page.render(full)


@pytest.fixture(scope="session")
def one_page(one: StudyResults) -> str:
    return page.render(one)


@pytest.fixture(scope="session")
def empty_page(empty: StudyResults) -> str:
    return page.render(empty)
