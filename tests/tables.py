"""`StudyBuilder`: collects made-up trials row by row and gives them as `StudyResults`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from harness.results import (
    BASELINE_COLUMNS,
    COST_COLUMNS,
    EXAMPLE_COLUMNS,
    MEASUREMENT_COLUMNS,
    METRIC_COLUMNS,
    TRIAL_COLUMNS,
    StudyResults,
)
from harness.trial import TrialConfig
from tests.simulation import BEST_RATE, WIDTHS, World

_START = pd.Timestamp("2026-01-05 08:00", tz="UTC")
_FIELDS = (
    "variant",
    "rank",
    "alpha",
    "dropout",
    "target_modules",
    "learning_rate",
    "budget",
    "seed",
)


def config(**changes: Any) -> TrialConfig:
    """A configuration: r=16, alpha 32, all linear layers, no dropout, the best rate, seed 0."""
    values: dict[str, Any] = {
        "variant": "lora",
        "rank": 16,
        "dropout": 0.0,
        "target_modules": "all_linear",
        "learning_rate": BEST_RATE,
        "seed": 0,
    }
    ratio = changes.pop("alpha_ratio", 2.0)
    values.update(changes)
    values.setdefault("alpha", ratio * values["rank"])
    return TrialConfig(**values)


def config_fields(config: TrialConfig) -> dict[str, Any]:
    """Fields of a configuration without its seed, as attributes hold them."""
    return {name: getattr(config, name) for name in _FIELDS if name != "seed"}


class StudyBuilder:
    """Collects trials row by row, then makes `StudyResults` of them."""

    def __init__(self, world: World, settings: Mapping[str, Any], name: str = "made_up") -> None:
        """Starts an empty study."""
        self.world, self.settings, self.name = world, settings, name
        self.trials: list[dict[str, Any]] = []
        self.measurements: list[dict[str, Any]] = []
        self.costs: list[dict[str, Any]] = []
        self.examples: list[pd.DataFrame] = []
        self.baselines: list[pd.DataFrame] = []
        self.metrics: list[dict[str, Any]] = []
        self.attributes: dict[str, Any] = {
            "metrics": [self._objective_metric(), self._second_metric()]
        }

    def _objective_metric(self) -> dict[str, Any]:
        objective = self.world.objective
        return {
            name: getattr(objective, name)
            for name in ("name", "form", "direction", "scale", "unit")
        }

    def _second_metric(self) -> dict[str, Any]:
        """A metric beside the objective."""
        if self.world.objective.form == "perplexity":
            unit = {"scale": 1.0, "unit": "bits a byte"}
            return {"name": "bits_per_byte", "form": "bits", "direction": "minimize", **unit}
        unit = {"scale": 100.0, "unit": "% of texts"}
        return {"name": "exact_match", "form": "share", "direction": "maximize", **unit}

    def _score(self, trial: int, baseline: str, split: str, statistics: np.ndarray) -> float:
        """Adds the values of both metrics; returns the objective's."""
        value = float(self.world.objective.value(statistics.sum(axis=0)))
        second = self._second_metric()["name"]
        second_value = math.log2(value) / 4 if second == "bits_per_byte" else value**2
        for name, number in ((self.world.objective.name, value), (second, second_value)):
            row = (trial, baseline, split, name, number)
            self.metrics.append(dict(zip(METRIC_COLUMNS, row, strict=True)))
        return value

    def _frame(self, head: Mapping[str, Any], split: str, statistics: np.ndarray) -> pd.DataFrame:
        size = len(statistics)
        frame = pd.DataFrame(statistics, columns=list(self.world.objective.columns))
        frame.insert(0, "unparsed", np.arange(size) % 50 == 49)
        frame.insert(0, "prediction", [f"CONDITION: finding {i % 7}" for i in range(size)])
        frame.insert(0, "example", [f"{split}-{i:04d}" for i in range(size)])
        frame.insert(0, "split", split)
        for column, value in reversed(head.items()):
            frame.insert(0, column, value)
        return frame

    def add(
        self,
        stage: str,
        config: TrialConfig,
        state: str = "complete",
        splits: Sequence[str] = ("validation",),
        score: float | None = None,
        **row: Any,
    ) -> float:
        """Adds one trial; returns its value on validation (NaN unless complete).

        Args:
            stage: search, tune, ablate or confirm.
            config: the configuration and its seed.
            state: of the trial.
            splits: splits to score if it is complete.
            score: true score of this adapter, instead of the world's truth plus seed noise.
            row: other columns of the trial's row.
        """
        world, number = self.world, len(self.trials)
        values: dict[str, float] = {}
        if score is None:
            score = world.truth(config) + world.seed_sd * float(world.rng.standard_normal())
        score = min(0.99, score - 0.05 * (1 - config.budget))
        for split in splits if state == "complete" else ():
            statistics = world.statistics(score, split)
            values[split] = self._score(number, "", split, statistics)
            self.examples.append(self._frame({"trial": number}, split, statistics))
        started = _START + pd.Timedelta(seconds=40 * number)
        self.trials.append(
            {
                "number": number,
                "stage": stage,
                "state": state,
                **{name: getattr(config, name) for name in _FIELDS},
                "alpha_ratio": config.alpha_ratio,
                "extras": config.extras,
                "key": config.key,
                "value": values.get("validation", math.nan),
                "test": values.get("test", math.nan),
                "duplicate_of": pd.NA,
                "error": {"failed": "loss is NaN at step 12", "pruned": "pruned at step 16"}.get(
                    state
                ),
                "proofs": "starts_as_base b_zero scale",
                "worker": f"local-{number % 2}",
                "started": pd.NaT if state == "waiting" else started,
                "finished": started + pd.Timedelta(seconds=38)
                if state not in {"waiting", "running"}
                else pd.NaT,
                **row,
            }
        )
        if state not in {"waiting", "running"} and "duplicate_of" not in row:
            self._measure(number, config, state, score)
        return values.get("validation", math.nan)

    def _measure(self, number: int, config: TrialConfig, state: str, score: float) -> None:
        shares = (0.25, 0.5, 0.75, 1.0) if state == "complete" else (0.25,)
        width = WIDTHS.get(config.target_modules, 1024)
        for share in shares:
            reading = score - 0.2 * (1 - share) + 0.005 * float(self.world.rng.standard_normal())
            if self.world.objective.form == "perplexity":
                reading = 12.0 - 8.0 * reading
            self.measurements.append(
                {
                    "trial": number,
                    "step": round(124 * share * config.budget),
                    "epoch": 4 * share * config.budget,
                    "loss": 2.0 - share,
                    "value": math.nan if state == "failed" else reading,
                    "seconds": 30.0 * share * config.budget,
                    "tokens": int(80_000 * share * config.budget),
                }
            )
        self.costs.append(
            {
                "trial": number,
                "train_seconds": 30.0 * config.budget * shares[-1] + 0.05 * config.rank,
                "score_seconds": 6.0,
                "tokens": int(80_000 * config.budget * shares[-1]),
                "parameters": width * config.rank,
                "peak_memory": 600_000_000 + 40 * width * config.rank,
                "pack": 1,
                "inference_memory": 8_000_000 + 4 * width * config.rank,
            }
        )

    def add_baselines(self) -> None:
        """Adds the base model without an adapter, and the other baselines of such a task."""
        bare = {"base_0_shot": 0.02, "base_5_shot": 0.12}
        others: dict[str, dict[str, float]] = {
            "entity_f1": {**bare, "dictionary": 0.45},
            "perplexity": {"base_0_shot": 0.02},
            "rougeL": {**bare, "first_sentence": 0.31, "copied_input": 0.22},
        }
        scores = others.get(self.world.objective.name, {**bare, "most_frequent": 0.05})
        for name, score in scores.items():
            for split in self.world.sizes:
                statistics = self.world.statistics(score, split)
                self._score(-1, name, split, statistics)
                self.baselines.append(self._frame({"name": name}, split, statistics))
        self.attributes["baselines"] = {"dictionary": {"entries": 812}}

    def results(self) -> StudyResults:
        """The study's tables."""
        columns = list(self.world.objective.columns)

        def table(rows: list[Any], names: Sequence[str]) -> pd.DataFrame:
            if rows and isinstance(rows[0], pd.DataFrame):
                return pd.concat(rows, ignore_index=True)[list(names)]
            return pd.DataFrame(rows, columns=list(names))

        return StudyResults(
            name=self.name,
            objective=self.world.objective,
            trials=table(self.trials, TRIAL_COLUMNS),
            measurements=table(self.measurements, MEASUREMENT_COLUMNS),
            examples=table(self.examples, [*EXAMPLE_COLUMNS, *columns]),
            baselines=table(self.baselines, [*BASELINE_COLUMNS, *columns]),
            costs=table(self.costs, COST_COLUMNS),
            metrics=table(self.metrics, METRIC_COLUMNS),
            sweep=self.settings,
            attributes=json.loads(json.dumps(self.attributes)),
            provenance={
                "versions": {"python": "3.11.9", "torch": "2.13.0", "peft": "0.21.2"},
                "platform": "Linux-6.1-x86_64",
                "processor": "two cores",
                "commit": "0123abc",
                "dirty": False,
                "digests": {"sweep": "aa" * 32, "task": "bb" * 32, "model": "cc" * 32},
                "threads": 1,
                "started": "2026-01-05T08:00:00+00:00",
                "finished": "2026-01-05T08:45:00+00:00",
            },
        )
