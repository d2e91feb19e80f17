"""`Proof`: what shows that a variant does what its name says, checked on the trial as it runs.

A proof looks at the adapter before the first step and after the last, and raises when a fact that
the variant stands for does not hold; the trial then fails. `proofs.py` has those that any variant
may name, a kind of adapter brings its own. Knows adapters, not variants' names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor

from harness.adapters.adapter import Adapter
from harness.registry import Registry

#: PEFT's name for the one adapter that is on.
NAME: Final = "default"
#: How far a sum of matrices may be from what it stands for, by precision, as a share of its size.
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


class ProofError(Exception):
    """A variant does not do what its name says; tells what was found, in one line."""


@dataclass(frozen=True)
class Subject:
    """What proofs look at.

    Attributes:
        adapter: on the base.
        groups: the optimiser's parameter groups, each with its rate at the peak as `peak`.
        ids: token ids of a probe, shape (1, length).
        reading: what the bare base makes of the probe; see `harness.models.token_head.reading`.
        weights: the base's own weights by name, as they are without the adapter.
    """

    adapter: Adapter
    groups: Iterable[Mapping[str, Any]]
    ids: Tensor
    reading: Tensor
    weights: Mapping[str, Tensor]

    def lora(self) -> dict[str, LoraLayer]:
        """The layers that have an A and a B, by name."""
        layers = self.adapter.layers()
        return {name: layer for name, layer in layers.items() if isinstance(layer, LoraLayer)}

    def parts(self, kind: str) -> dict[str, Tensor]:
        """Copies of all adapter weights of a kind, such as `lora_A`, by name."""
        named = self.adapter.base.named_parameters()
        return {name: weight.detach().clone() for name, weight in named if f".{kind}." in name}


class Proof:
    """One fact, which the docstring's first line says.

    Args:
        subject: what to look at.
    """

    def __init__(self, subject: Subject) -> None:
        """Looks at nothing yet."""
        self.subject = subject

    def begin(self) -> None:
        """Checks what holds before the first step, and notes what has to change or stay.

        Raises:
            ProofError: it does not hold.
        """

    def end(self) -> None:
        """Checks what holds after the last step.

        Raises:
            ProofError: it does not hold.
        """


def demand(holds: bool, found: str) -> None:
    """Raises what was found unless the fact holds."""
    if not holds:
        raise ProofError(found)


def near(one: Tensor, other: Tensor, tolerance: float | None = None) -> bool:
    """Whether two tensors are equal but for rounding.

    Args:
        one: any shape.
        other: the same shape; its precision decides what counts as rounding.
        tolerance: else, the share of the largest number by which they may differ.
    """
    tolerance = _TOLERANCE.get(other.dtype, 3e-2) if tolerance is None else tolerance
    size = max(float(one.abs().max()), float(other.abs().max()), 1e-12)
    return float((one.float() - other.float()).abs().max()) <= tolerance * size


def update_of(layer: LoraLayer) -> Tensor:
    """What the adapter adds to a layer's weight, shape as the weight."""
    found: Tensor = layer.get_delta_weight(NAME)  # type: ignore[attr-defined]
    return found


PROOFS: Final[Registry[type[Proof]]] = Registry("proof")
