"""Takes an adapter's layers off the base without giving them up, and puts them back.

So several adapters that PEFT made can live beside one base, of which one at most is on it at any
time. Knows PEFT's layers, nothing of training.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from harness.adapters.adapter import Adapter


class _Place(NamedTuple):
    parent: nn.Module
    leaf: str
    wrapped: nn.Module
    bare: nn.Module


class Parked:
    """An adapter beside its base.

    Args:
        adapter: on the base; taken aside at once.
        bare: each frozen weight with its data as they are without the adapter.
    """

    def __init__(self, adapter: Adapter, bare: list[tuple[nn.Parameter, Tensor]]) -> None:
        """Notes where each wrapped layer belongs, and takes the adapter aside."""
        self._base = adapter.base
        self._places = []
        for name, layer in adapter.layers().items():
            parent, _, leaf = name.rpartition(".")
            owner = self._base.get_submodule(parent)
            assert isinstance(layer, nn.Module)
            self._places.append(_Place(owner, leaf, layer, layer.get_base_layer()))
        # Some adapters take over a part of the frozen weights while they are on.
        self._swapped = [
            (weight, data, weight.data)
            for weight, data in bare
            if weight.data_ptr() != data.data_ptr()
        ]
        self._noted: Any = None
        self.leave()

    def leave(self) -> None:
        """Takes the adapter aside: the base is bare."""
        for parent, leaf, _, bare in self._places:
            setattr(parent, leaf, bare)
        for weight, data, _ in self._swapped:
            weight.data = data
        # PEFT takes a second adapter for a mistake where it finds this.
        self._noted = self._base.__dict__.pop("peft_config", None)

    def enter(self) -> None:
        """Puts the adapter back on the base, which is bare."""
        for parent, leaf, wrapped, _ in self._places:
            setattr(parent, leaf, wrapped)
        for weight, _, own in self._swapped:
            weight.data = own
        if self._noted is not None:
            self._base.peft_config = self._noted

    @contextmanager
    def present(self) -> Iterator[None]:
        """On the base meanwhile."""
        self.enter()
        try:
            yield
        finally:
            self.leave()
