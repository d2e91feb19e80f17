"""What a worker writes down of a base model, for whoever reads the study without one."""

from itertools import product
from typing import Any

from transformers import PreTrainedModel

from harness.space import SearchSpace
from harness.storage.rounds import Decide
from harness.trial import EXTRAS
from harness.variants import Variant, resolve


def names(model: PreTrainedModel, space: SearchSpace, decide: Decide) -> None:
    """What a `LoraConfig` needs beside the search space.

    Args:
        model: the base.
        space: what is searched.
        decide: writes a decision unless there is one.
    """
    from harness.adapters.targets import target_names
    from harness.models import token_head

    head = token_head.find(model)
    if head is not None:
        noted = {"module": head.name, "labels": list(token_head.labels(model))}
        decide("head", {**noted, "task_type": token_head.task_type(model)})
    found = {group: target_names(model, group) for group in space.target_modules}
    for group, layers in product(space.target_modules, space.layers):
        if layers != EXTRAS["layers"]:
            found[f"{group} in {layers}"] = target_names(model, group, layers)
    decide("modules", {name: list(each) for name, each in found.items()})
    decide("variants", {name: _traits(resolve(name)) for name in space.variant})


def full(model: PreTrainedModel, workers: int, decide: Decide) -> None:
    """Whether all weights can be trained here, for the stage that would do so.

    Args:
        model: the base.
        workers: who share the memory.
        decide: writes a decision unless there is one.
    """
    from harness.adapters.kinds.full import impossible
    from harness.models.memory import available

    # Also where the sweep does not ask for it: claims may, later.
    decide("full_impossible", impossible(model, available() // workers))


def _traits(variant: Variant) -> dict[str, Any]:
    """What a reader needs to write the configuration down."""
    return {
        "peft": dict(variant.peft),
        "optimiser": dict(variant.optimiser),
        "kind": variant.kind,
        "frozen": list(variant.frozen),
        "initial_rank": variant.initial_rank,
        "root_scale": variant.root_scale,
        "source": variant.source,
    }
