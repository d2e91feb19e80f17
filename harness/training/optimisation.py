"""AdamW over an adapter's weights, and how the learning rate rises and falls."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from harness.settings import TrainingSettings


def groups(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Groups of the parameters that require a gradient, as an optimiser takes them.

    Matrices decay, vectors (DoRA's magnitudes) do not. With the trait `b_rate_ratio` the B
    matrices learn that many times faster (LoRA+, Hayou et al. 2024, eq. 7). Each group keeps its
    peak rate as `peak`.

    Args:
        named: parameters by name, as `named_parameters()` gives them.
        rate: peak learning rate.
        weight_decay: decoupled decay of the matrices.
        traits: `Variant.optimiser`.

    Raises:
        ValueError: a trait that this optimiser does not know.
    """
    unknown = set(traits) - {"b_rate_ratio"}
    if unknown:
        raise ValueError(f"unknown optimiser traits: {', '.join(sorted(unknown))}")
    ratio = traits.get("b_rate_ratio", 1.0)
    found: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            which = ("lora_B" in name and ratio != 1.0, parameter.ndim >= 2)
            found.setdefault(which, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (ratio if faster else 1.0),
            "peak": rate * (ratio if faster else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (faster, decays), parameters in found.items()
    ]


def optimiser(
    named: Iterable[tuple[str, torch.nn.Parameter]],
    rate: float,
    weight_decay: float,
    traits: Mapping[str, float],
    kind: str = "adamw",
) -> torch.optim.Optimizer:
    """AdamW over all parameters that require a gradient, in `groups`.

    Args:
        named: parameters by name, as `named_parameters()` gives them.
        rate: peak learning rate.
        weight_decay: decoupled decay of the matrices.
        traits: `Variant.optimiser`.
        kind: `adamw`, or bitsandbytes' `adamw_8bit` and `paged_adamw_8bit`.

    Raises:
        ValueError: a trait that this optimiser does not know.
    """
    settings = groups(named, rate, weight_decay, traits)
    if kind == "adamw":
        return torch.optim.AdamW(settings, lr=rate, fused=True)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit  # slow to import

    kinds = {"adamw_8bit": AdamW8bit, "paged_adamw_8bit": PagedAdamW8bit}
    with warnings.catch_warnings():
        # Without a GPU there is nothing to page out of: it runs all the same, as it says.
        warnings.filterwarnings("ignore", message=".*[Pp]aged.*")
        made: torch.optim.Optimizer = kinds[kind](settings, lr=rate)
    return made


def set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Sets each group's rate to a share of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def rate_share(step: int, steps: int, training: TrainingSettings) -> float:
    """The learning rate at a step, as a share of its peak.

    Rises linearly over the first `warmup` share of the steps, then falls to `floor` at the last
    step: linearly, along half a cosine, or not at all.

    Args:
        step: steps done before this one, from 0.
        steps: all steps of this trial.
        training: schedule, warm-up and floor.
    """
    rising = round(training.warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if training.schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - 1 - rising)
    left = 1 - done if training.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return training.floor + (1 - training.floor) * left


def step_count(training: TrainingSettings, examples: int, budget: float) -> int:
    """Optimiser steps of a trial, at least one; the schedule spans just these.

    Args:
        training: epochs or steps, and the batch size.
        examples: training examples.
        budget: share of the full number of steps.
    """
    if training.steps is not None:
        full = float(training.steps)
    else:
        full = math.ceil(examples / training.batch_size) * (training.epochs or 0.0)
    return max(1, round(full * budget))
