"""Builds whole `StudyResults` by simulation, for tests of the analysis and of the report.

No model is trained: every score is drawn from a seeded simulation whose truth is known, and stands
in the tables as per-example statistics, as a real study leaves them. `make_results` gives a full
study (search, tune, ablate, confirm), `one_trial_results` the smallest one, `empty_results` none,
`confirm_results` a confirm stage of adapters with given scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config.variants import VARIANTS
from tests.simulation import (
    ACCURACY,
    BEST_RATE,
    EFFECTS,
    F1,
    MACRO,
    PERPLEXITY,
    RANKS,
    ROUGE,
    World,
)
from tests.tables import StudyBuilder, config, config_fields

if TYPE_CHECKING:
    from harness.results import Objective, StudyResults
    from harness.trial import TrialConfig

__all__ = [
    "ACCURACY",
    "F1",
    "MACRO",
    "PERPLEXITY",
    "ROUGE",
    "config",
    "confirm_results",
    "empty_results",
    "make_results",
    "one_trial_results",
]


def sweep_settings(looks: Sequence[int] = (5, 10), alpha: float = 0.05) -> dict[str, Any]:
    """A frozen sweep with the keys that analysis and report read."""
    return {
        "task": "ner_medical",
        "model": {"name": "builtin:tiny", "dtype": "float32", "quantization": "none"},
        "seed": 0,
        "space": {
            "variant": list(EFFECTS["variant"]),
            "rank": [1, 2, 4, 8, 16, 32, 64],
            "alpha_ratio": [0.5, 1, 2, 4],
            "target_modules": list(EFFECTS["target_modules"]),
            "dropout": list(EFFECTS["dropout"]),
            "learning_rate": {"low": 5e-4, "high": 5e-2, "log": True},
        },
        "training": {"epochs": 4, "batch_size": 16, "micro_batch_size": 16, "max_length": 256},
        "search": {"trials": 30, "sampler": "tpe", "pruner": "median"},
        "ablation": {
            "factors": {"rank": list(RANKS), **{k: list(v) for k, v in EFFECTS.items()}},
            "pairs": [["rank", "target_modules=qv"]],
            "rates": 3,
            "seeds": 3,
            "max_cells": 15,
            "tuning_budget": 0.33,
        },
        "confirmation": {"looks": list(looks), "max_configurations": 6, "alpha": alpha},
        "minutes": None,
        "workers": 2,
        "threads": 1,
    }


def _search(study: StudyBuilder, trials: int) -> TrialConfig:
    rng = np.random.default_rng(study.world.seed + 1)
    best, best_value = config(), -math.inf
    for number in range(trials):
        point = config(
            variant=str(rng.choice(list(EFFECTS["variant"]))),
            rank=int(rng.choice([1, 2, *RANKS, 64])),
            alpha_ratio=float(rng.choice(list(EFFECTS["alpha_ratio"]))),
            target_modules=str(rng.choice(list(EFFECTS["target_modules"]))),
            dropout=float(rng.choice(list(EFFECTS["dropout"]))),
            learning_rate=float(10 ** rng.uniform(-3.3, -1.3)),
        )
        if number == trials // 2:
            point = config()  # so that a good one is there whatever the draw
        state = {5: "pruned", 9: "failed", 13: "pruned"}.get(number, "complete")
        value = study.add("search", point, state) * study.world.objective.sign
        if value > best_value:
            best, best_value = point, value
    study.add("search", best, "complete", splits=(), duplicate_of=trials // 2)
    return best


def _cells(incumbent: TrialConfig) -> list[tuple[str, Any, TrialConfig]]:
    cells: list[tuple[str, Any, TrialConfig]] = []
    for rank in RANKS:
        cells.append(("rank", rank, incumbent.replace(rank=rank, alpha=2.0 * rank)))
    for ratio in EFFECTS["alpha_ratio"]:
        cells.append(("alpha_ratio", ratio, incumbent.replace(alpha=ratio * incumbent.rank)))
    for name in ("target_modules", "dropout", "variant"):
        cells += [(name, level, incumbent.replace(**{name: level})) for level in EFFECTS[name]]
    for rank in RANKS:
        on_qv = incumbent.replace(rank=rank, alpha=2.0 * rank, target_modules="qv")
        cells.append(("rank@target_modules=qv", rank, on_qv))
    return cells


def _ablate(study: StudyBuilder, incumbent: TrialConfig, seeds: int) -> dict[str, TrialConfig]:
    rates = [BEST_RATE * factor for factor in (0.4, 1.0, 2.5)]
    tuned: dict[str, TrialConfig] = {}
    entries: list[dict[str, Any]] = []
    for factor, level, cell in _cells(incumbent):
        name = cell.replace(learning_rate=BEST_RATE, budget=1.0).key
        if name not in tuned:
            tries = [cell.replace(learning_rate=r, seed=1000, budget=0.33) for r in rates]
            values = [
                study.add("tune", cell_config) * study.world.objective.sign
                for cell_config in tries
            ]
            rate = rates[int(np.argmax(values))]
            tuned[name] = cell.replace(learning_rate=rate, budget=1.0)
            for number in range(seeds):
                study.add("ablate", tuned[name].replace(seed=2000 + number))
        best = tuned[name]
        entries.append(
            {
                "factor": factor,
                "level": level,
                "rates": rates,
                "key": best.key,
                "rate": best.learning_rate,
                "config": config_fields(best),
            }
        )
    study.attributes["cells"] = entries
    return {cell_config.key: cell_config for cell_config in tuned.values()}


def _full(study: StudyBuilder, seeds: int) -> None:
    """Adds full fine-tuning, a little better than the best adapter."""
    point = config(variant="full", rank=1, alpha=1.0, learning_rate=BEST_RATE / 10)
    for number in range(seeds):
        splits = ("validation", "test")
        study.add("full", point.replace(seed=2000 + number), score=0.89, splits=splits)


def _confirm(study: StudyBuilder, finalists: Sequence[TrialConfig], looks: Sequence[int]) -> None:
    truths = {finalist.key: study.world.truth(finalist) for finalist in finalists}
    best = max(truths.values())
    contenders = [finalist for finalist in finalists if truths[finalist.key] > best - 0.04]
    study.attributes["finalists"] = [finalist.key for finalist in finalists]
    study.attributes["contenders"] = (
        [finalist.key for finalist in contenders] if len(looks) > 1 else []
    )
    study.attributes["looks_done"] = list(looks)
    done = 0
    for look, compared in zip(looks, (finalists, *[contenders] * len(looks)), strict=False):
        for finalist in compared:
            for number in range(done, look):
                study.add(
                    "confirm", finalist.replace(seed=3000 + number), splits=("validation", "test")
                )
        done = look


def make_results(
    *,
    objective: Objective = F1,
    seed: int = 0,
    seed_sd: float = 0.01,
    sizes: Mapping[str, int] | None = None,
    trials: int = 30,
    ablation_seeds: int = 3,
    looks: Sequence[int] = (5, 10),
    stages: Sequence[str] = ("search", "ablate", "confirm"),
    name: str = "made_up",
) -> StudyResults:
    """A full study: search, tune, ablate and confirm, baselines, costs, readings, attributes.

    Args:
        objective: one of `tests.simulation`.
        seed: of the simulation; equal seeds give equal tables.
        seed_sd: spread of a configuration's score over training seeds.
        sizes: examples of each split; 80 for validation and 160 for test.
        trials: search trials (one failed, two pruned, one duplicate on top).
        ablation_seeds: fresh seeds of a cell.
        looks: seeds at each look of the confirm stage.
        stages: completed stages; fewer of them make an unfinished study. `full` adds full
            fine-tuning.
        name: of the study.

    Returns:
        The tables; the truth is in `RANKS` and `EFFECTS`.
    """
    world = World(objective, sizes or {"validation": 80, "test": 160}, seed_sd, seed)
    study = StudyBuilder(world, sweep_settings(looks), name)
    study.add_baselines()
    if "search" in stages:
        incumbent = _search(study, trials)
        study.attributes["incumbent"] = config_fields(incumbent)
        study.attributes["rung_correlation"] = 0.91
        study.attributes["modules"] = {"qv": ["q_proj", "v_proj"], "all_linear": ["q_proj"]}
        study.attributes["variants"] = {
            name: {"peft": dict(VARIANTS.get(name).peft), "optimiser": {}}
            for name in EFFECTS["variant"]
        }
    if "ablate" in stages:
        _ablate(study, config(), ablation_seeds)
        study.attributes["incumbent"] = config_fields(config())
        study.attributes["dropped"] = [
            "pairs: no room for rank=64 at target_modules=qv (max_cells 15)"
        ]
    if "full" in stages:
        _full(study, ablation_seeds)
    if "confirm" in stages:
        finalists = [config(rank=rank) for rank in RANKS]
        finalists += [config(target_modules="qv"), config(rank=4, target_modules="qv")]
        _confirm(study, finalists, looks)
    return study.results()


def one_trial_results(objective: Objective = F1) -> StudyResults:
    """A study with a single search trial, which is complete."""
    study = StudyBuilder(
        World(objective, {"validation": 20, "test": 20}), sweep_settings(), "one_trial"
    )
    study.add("search", config())
    return study.results()


def empty_results(objective: Objective = F1) -> StudyResults:
    """A study in which nothing has happened yet."""
    return StudyBuilder(
        World(objective, {"validation": 20, "test": 20}), sweep_settings(), "empty"
    ).results()


def confirm_results(
    scores: Mapping[TrialConfig, Sequence[float]],
    *,
    objective: Objective = F1,
    examples: int = 200,
    looks: Sequence[int] = (5, 10),
    seed: int = 0,
) -> StudyResults:
    """A study with a confirm stage only, of adapters whose true scores are given.

    Args:
        scores: true score at each seed, NaN for a training that failed.
        objective: `F1` or `PERPLEXITY`.
        examples: of the test split.
        looks: seeds at each look, as the sweep plans them.
        seed: of the simulation.
    """
    world = World(objective, {"validation": 10, "test": examples}, seed=seed)
    study = StudyBuilder(world, sweep_settings(looks), "confirm_only")
    for point, values in scores.items():
        for number, score in enumerate(values):
            state = "failed" if math.isnan(score) else "complete"
            seeded = point.replace(seed=3000 + number)
            study.add("confirm", seeded, state, ("validation", "test"), score=score)
    return study.results()
