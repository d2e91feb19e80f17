"""`Sweep`: one sweeps/*.yaml, checked; every fault is reported with its file and key path."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from harness.config import catalog
from harness.config.settings import (
    AblationSettings,
    BaselineSettings,
    ConfirmationSettings,
    EngineSettings,
    ModelSettings,
    SearchSettings,
    Section,
    TrainingSettings,
)
from harness.config.space import SearchSpace
from harness.config.variants import FULL, resolve_variant, why_untrainable
from harness.errors import UserError, did_you_mean, first_fault

#: Keys that may differ when a study is resumed: they change its duration, not its results.
FREE_KEYS: Final = ("minutes", "workers", "threads", "summary")

#: What `--preset` changes; a sweep may have further presets.
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "quick": {
        "search": {"trials": 8, "startup": 4},
        "space": {"variant": ["lora"], "alpha_ratio": [2.0], "dropout": [0.0]},
        "ablation": {"max_cells": 6},
        "confirmation": {"looks": [5], "max_configurations": 4},
    },
    "standard": {},
    "thorough": {
        "search": {"trials": 60},
        "ablation": {"seeds": 5, "max_cells": 25},
        "confirmation": {"looks": [5, 10, 20], "max_configurations": 8},
    },
}


class DataSettings(Section):
    """The user's own rows instead of the task's, and how many of them to use.

    Attributes:
        folder: with files for train and perhaps validation and test.
        limit: examples of each split, at most.
        allow_leaks: run although inputs occur in two splits.
    """

    folder: str | None = None
    limit: Annotated[int, Field(ge=2)] | None = None
    allow_leaks: bool = False


class Sweep(Section):
    """The configuration of a study.

    Attributes:
        task: name of a task, or path of its folder.
        summary: one line for `list`.
        seed: of the sampler and all trials; with one worker, equal seeds give equal studies.
        model: the frozen base model.
        data: the user's own rows.
        space: the search space.
        training: how each adapter is trained.
        search: first stage.
        ablation: second stage.
        confirmation: third stage.
        baselines: what the adapters are compared with.
        engine: how trials share the base model.
        minutes: time limit of the study, or null.
        workers: number of local processes, or null to choose by the machine.
        threads: torch threads of each worker, or null to choose by the machine.
        presets: what `--preset NAME` changes.
    """

    task: Annotated[str, Field(min_length=1)]
    summary: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    space: SearchSpace = SearchSpace()
    training: TrainingSettings = TrainingSettings(epochs=3)
    search: SearchSettings = SearchSettings()
    ablation: AblationSettings = AblationSettings()
    confirmation: ConfirmationSettings = ConfirmationSettings()
    baselines: BaselineSettings = BaselineSettings()
    engine: EngineSettings = EngineSettings()
    minutes: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    presets: Annotated[dict[str, dict[str, Any]], Field(default_factory=dict)]

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        for name in self.space.variant:
            try:
                variant = resolve_variant(name)
            except UserError as error:
                raise ValueError(f"space.variant: {error}") from None
            if variant is FULL:
                raise ValueError(f"space.variant: '{name}' trains no adapter; see baselines.full")
            problem = why_untrainable(variant, self.space.rank, self.model.quantization)
            early = self.training.restore_best or self.training.early_stopping is not None
            if variant.initial_rank != 1.0 and early:
                problem = (
                    f"variant {name} changes ranks until late in training: "
                    "training.restore_best and early_stopping would stop it at another rank"
                )
            if problem is not None:
                raise ValueError(f"space.variant: {problem}")
        return self

    @model_validator(mode="after")
    def _check_centre(self) -> Self:
        centre = self.ablation.centre
        if centre is None:
            if self.search.trials == 0:
                raise ValueError("search.trials: 0 needs an ablation.centre")
            return self
        if self.search.trials:
            raise ValueError(
                "ablation.centre: needs search.trials: 0, since a search determines the centre"
            )
        for factor in type(centre).model_fields.keys() - {"learning_rate"}:
            level, levels = getattr(centre, factor), getattr(self.space, factor)
            if level not in levels:
                known = ", ".join(map(str, levels))
                raise ValueError(
                    f"ablation.centre.{factor}: {level} is not a level of space.{factor} ({known})"
                )
        return self

    def to_dict(self) -> dict[str, Any]:
        """The sweep as plain values without presets, as it is stored with its study."""
        return self.model_dump(mode="json", exclude={"presets"})

    def digest(self) -> str:
        """Sixteen hex digits over everything that determines the results of a study."""
        body = {key: value for key, value in self.to_dict().items() if key not in FREE_KEYS}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def load_sweep(
    name: str,
    overrides: Sequence[str] = (),
    preset: str | None = None,
    or_task: bool = False,
    **changes: Any,
) -> Sweep:
    """Reads a sweep by name or path.

    Args:
        name: a name in `sweeps/`, or the path of a YAML file.
        overrides: `key.path=value` with values in YAML, as `--set` takes them; applied last.
        preset: `quick`, `standard`, `thorough`, or one that the sweep itself declares.
        or_task: accept the name of a task, too, for a sweep with default settings.
        **changes: values by dotted key path with `__` for the dot, such as `model__name`;
            None is left out.

    Raises:
        UserError: a fault, with file and key path.
    """
    source, body = _sweep_body(name, or_task)
    if preset is not None:
        presets = {**PRESETS, **(body.get("presets") or {})}
        if preset not in presets:
            raise UserError(f"unknown preset '{preset}'; {did_you_mean(preset, presets)}")
        body = _merge(body, presets[preset])
    for key, value in changes.items():
        if value is not None:
            _set_key(body, key.replace("__", "."), value, source)
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise UserError(f"--set {text}: write it as key.path=value")
        try:
            _set_key(body, key.strip(), yaml.safe_load(value), f"--set {text}")
        except (yaml.YAMLError, ValueError):  # the latter for a date that does not exist
            raise UserError(f"--set {text}: the value is not YAML") from None
    return parse_sweep(body, source)


def parse_sweep(body: Mapping[str, Any], source: str) -> Sweep:
    """Checks keys and values as in the YAML; messages name the source, such as the file.

    Raises:
        UserError: the first fault, with its key path.
    """
    try:
        return Sweep.model_validate(dict(body))
    except ValidationError as error:
        raise UserError(f"{source}: {first_fault(error, Sweep)}") from None


def _sweep_body(name: str, or_task: bool) -> tuple[str, dict[str, Any]]:
    """The name of a sweep for messages, and its keys."""
    try:
        path = catalog.find_sweep(name)
    except UserError:
        if not or_task:
            raise
        known = {**catalog.list_sweeps(), **catalog.list_tasks()}
        if "/" not in name and name not in known:
            message = f"no sweep and no task '{name}'; {did_you_mean(name, known)}"
            raise UserError(message) from None
        catalog.find_task(name)
        # The default of a sweep without `training`, so that its other keys can be set alone.
        epochs = Sweep.model_fields["training"].default.epochs
        return f"task {name}", {"task": name, "training": {"epochs": epochs}}
    return str(path), _read_yaml(path)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except ValueError as error:  # such as a date that does not exist
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(body, dict):
        raise UserError(f"{path}: a sweep is a mapping with the key 'task'")
    return body


def _merge(body: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings are merged, everything else is replaced (also `ablation.factors`)."""
    merged = dict(body)
    for key, value in change.items():
        old = merged.get(key)
        replace = key == "factors" or not (isinstance(old, Mapping) and isinstance(value, Mapping))
        merged[key] = value if replace else _merge(old or {}, value)
    return merged


def _set_key(body: dict[str, Any], path: str, value: Any, source: str) -> None:
    *parents, last = path.split(".")
    section: Any = body
    for parent in parents:
        subsection = section.get(parent)
        if isinstance(subsection, str) and parent == "model":
            subsection = {"name": subsection}
        if subsection is None:
            subsection = {}
        if not isinstance(subsection, Mapping):
            raise UserError(f"{source}: {path}: '{parent}' is a value, not a section")
        section[parent] = dict(subsection)
        section = section[parent]
    section[last] = value
    if last in {"epochs", "steps"} and parents == ["training"] and value is not None:
        # Exactly one of them may be set.
        section.pop("steps" if last == "epochs" else "epochs", None)
