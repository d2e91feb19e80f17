"""A configuration cannot be built wrong, and its key names it without its seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.trial import (
    Cost,
    Outcome,
    Purpose,
    Stage,
    TrialConfig,
    TrialRequest,
    TrialResult,
    derive_seed,
)

GOOD: dict[str, Any] = {
    "variant": "lora",
    "rank": 8,
    "alpha": 16.0,
    "dropout": 0.05,
    "target_modules": "qv",
    "learning_rate": 5e-3,
    "seed": 3,
}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rank", 0, "rank 0 is below 1"),
        ("alpha", 0.0, "alpha 0.0 is not above 0"),
        ("alpha", float("inf"), "alpha inf is not above 0"),
        ("alpha", float("nan"), "alpha nan is not above 0"),
        ("dropout", 1.0, r"dropout 1.0 is outside \[0, 1\)"),
        ("dropout", -0.1, r"dropout -0.1 is outside \[0, 1\)"),
        ("learning_rate", 0.0, "learning rate 0.0 is not above 0"),
        ("learning_rate", float("nan"), "learning rate nan is not above 0"),
        ("seed", -1, "seed -1 is negative"),
        ("budget", 0.0, r"budget 0.0 is outside \(0, 1\]"),
        ("budget", 1.1, r"budget 1.1 is outside \(0, 1\]"),
        ("target_modules", "", "target modules are empty"),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrialConfig(**{**GOOD, field: value})


def test_the_key_leaves_out_the_seed_and_nothing_else() -> None:
    config = TrialConfig(**GOOD)
    assert config.replace(seed=4).key == config.key
    changes: dict[str, Any] = {
        "variant": "dora",
        "rank": 16,
        "alpha": 8.0,
        "dropout": 0.0,
        "target_modules": "q",
        "learning_rate": 6e-3,
        "budget": 0.5,
        "extras": "bias=all",
    }
    assert {*changes, "seed"} == {field.name for field in dataclasses.fields(config)}
    keys = {config.replace(**{name: value}).key for name, value in changes.items()}
    assert len(keys) == len(changes)
    assert config.key not in keys


def test_the_key_is_the_same_in_every_process() -> None:
    # Keys are stored in databases: this one must never change.
    assert TrialConfig(**GOOD).key == "a374b9beed8f"


def test_alpha_ratio() -> None:
    assert TrialConfig(**GOOD).alpha_ratio == 2.0


def test_with_checks_again() -> None:
    with pytest.raises(ValueError, match="rank 0"):
        TrialConfig(**GOOD).replace(rank=0)


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrialConfig(**GOOD).rank = 4  # type: ignore[misc]


def test_the_label_says_all_but_the_seed() -> None:
    label = TrialConfig(**GOOD).label()
    assert label == "lora r=8 alpha=16 qv dropout=0.05 lr=0.005"


def test_stages_and_outcomes_are_plain_text() -> None:
    assert [str(stage) for stage in Stage] == [
        *("search", "tune", "ablate", "full", "claim", "confirm")
    ]
    assert [str(outcome) for outcome in Outcome] == ["complete", "pruned", "failed"]


def test_results_of_different_trials_share_nothing() -> None:
    first, second = TrialResult(0, Outcome.FAILED), TrialResult(1, Outcome.FAILED)
    assert first.scores is not second.scores
    assert first.cost == Cost()
    assert TrialRequest(0, TrialConfig(**GOOD)).splits == ("validation",)


def test_each_purpose_has_a_seed_of_its_own() -> None:
    found = {derive_seed(seed, purpose) for seed in range(50) for purpose in Purpose}
    assert len(found) == 50 * len(Purpose)


def test_a_seed_never_changes() -> None:
    # Written down: a study that goes on under a later version must see the same numbers.
    assert derive_seed(0, Purpose.DATA_ORDER) == 7359687707597974334
