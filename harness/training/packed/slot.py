"""One slot's training: its data order, rate, clipping and bounds, whoever computes gradients.

Knows nothing of its neighbours.

All trained weights of one adapter in a few flat buffers: one operation where there were many.

Weights, gradients and Adam's states of a group lie end to end; the adapter's own parameters are
views of them. Knows nothing of models, layouts or trials.

Takes an adapter's layers off the base without giving them up, and puts them back.

So several adapters that PEFT made can live beside one base, of which one at most is on it at any
time. Knows PEFT's layers, nothing of training.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.adapters.adapter import Adapter
from harness.models.batches import TokenSequence, data_order
from harness.training import loop
from harness.training.loop import DivergedError, TrainingRun
from harness.training.packed.lora_math import TrainedWeight
from harness.trial import Purpose, derive_seed


class _Views(NamedTuple):
    parameter: nn.Parameter
    trained: TrainedWeight


class FlatWeights:
    """One adapter's trained weights, with their optimiser.

    Args:
        groups: as `harness.training.loop.parameter_groups` makes them.
        dtype: what matrix products take; the weights themselves stay in their own precision.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._views: dict[int, _Views] = {}
        self._buffers: list[nn.Parameter] = []
        self._products: list[Tensor | None] = []
        settings: list[dict[str, Any]] = []
        for group in groups:
            buffer, product = self._flatten(group["params"], dtype)
            settings.append({**group, "params": [buffer]})
            self._buffers.append(buffer)
            self._products.append(product)
        self.optimiser = torch.optim.AdamW(settings, lr=1.0, fused=True)
        self.refresh()

    def _flatten(
        self, parameters: Sequence[nn.Parameter], dtype: torch.dtype
    ) -> tuple[nn.Parameter, Tensor | None]:
        buffer = nn.Parameter(torch.cat([each.detach().flatten() for each in parameters]))
        buffer.grad = torch.zeros_like(buffer)
        # Vectors scale whole outputs: they are never rounded.
        plain = buffer.dtype == dtype or parameters[0].ndim < 2
        product = None if plain else torch.empty_like(buffer, dtype=dtype)
        start = 0
        for each in parameters:
            here = slice(start, start + each.numel())
            each.data = buffer.data[here].view(each.shape)
            value = each.data if product is None else product[here].view(each.shape)
            trained = TrainedWeight(value, buffer.grad[here].view(each.shape))
            self._views[id(each)] = _Views(each, trained)
            start += each.numel()
        return buffer, product

    def of(self, parameter: nn.Parameter) -> TrainedWeight:
        """How products see a parameter; one that is not trained has no gradient."""
        found = self._views.get(id(parameter))
        if found is not None:
            return found.trained
        return TrainedWeight(parameter.detach().to(self._dtype), None)

    def refresh(self) -> None:
        """Rounds the weights anew to what products take; after each step."""
        for buffer, product in zip(self._buffers, self._products, strict=True):
            if product is not None:
                product.copy_(buffer.data)

    def clip(self, bound: float) -> Tensor:
        """Scales gradients so that their norm is `bound` at most; answers the norm before."""
        return nn.utils.clip_grad_norm_(self._buffers, bound)

    def step(self) -> None:
        """AdamW's step; gradients are zero afterwards."""
        self.optimiser.step()
        self.clear()
        self.refresh()

    def clear(self) -> None:
        """Gradients are zero again."""
        for buffer in self._buffers:
            assert buffer.grad is not None
            buffer.grad.zero_()

    def release(self) -> None:
        """Gives each parameter its own memory back."""
        for parameter, _ in self._views.values():
            parameter.data = parameter.data.clone()
        self._views.clear()


class SlotTrainingRun(TrainingRun):
    """A run whose gradients come from elsewhere: `draw`, add gradients up, `tell`, go on.

    Attributes:
        weights: the adapter's, moved into flat buffers when they are first asked for.
        dtype: what products with them are made in; of the base unless it is set before.
        generator: of dropout; one of its own, so that no neighbour can shift the masks.
    """

    _loss_value = 0.0
    dtype: torch.dtype | None = None

    @cached_property
    def weights(self) -> FlatWeights:
        """See above."""
        return FlatWeights(self.groups, self.dtype or next(self._base.model.parameters()).dtype)

    @cached_property
    def generator(self) -> torch.Generator:
        """See above."""
        return torch.Generator().manual_seed(derive_seed(self._config.seed, Purpose.DROPOUT))

    @cached_property
    def _order(self) -> Iterator[tuple[int, ...]]:
        lengths = [len(sequence.ids) for sequence in self._sequences]
        return data_order(lengths, self._training.batch_size, self._config.seed)

    def draw(self) -> Sequence[TokenSequence]:
        """The sequences of the next step."""
        return [self._sequences[index] for index in next(self._order)]

    def tell(
        self, loss: float, tokens: int, seconds: float, pack: int, changed: str | None = None
    ) -> None:
        """What the step that was drawn came to; gradients of the mean loss are added up.

        Args:
            loss: mean loss of its answer tokens, nats a token.
            tokens: padding excluded.
            seconds: this slot's share of the time.
            pack: slots that shared the step.
            changed: what was changed for want of memory, in one line.
        """
        self._loss_value = loss
        progress = self._progress
        progress.tokens += tokens
        progress.seconds += seconds
        progress.pack = max(progress.pack, pack)
        progress.changed = changed

    def __iter__(self) -> Iterator[int]:
        """Makes use of the gradients, step by step; each has to be told before.

        Yields:
            Steps done, after each step.

        Raises:
            DivergedError: the loss or the gradient is no number, or the loss above its bound.
        """
        training, progress = self._training, self._progress
        for step in range(self._steps):
            start = time.perf_counter()
            share = loop.schedule_factor(step, self._steps, training)
            loop.set_rate(self.weights.optimiser, share)
            norm = self.weights.clip(training.max_gradient_norm)
            if not torch.isfinite(norm):
                self._note(step + 1)
                self._check(self._loss_value)
                raise DivergedError(f"diverged at step {step + 1}: gradient {norm}")
            self.weights.step()
            self._note(step + 1)
            progress.seconds += time.perf_counter() - start
            self._check(self._loss_value)
            yield step + 1

    def _note(self, step: int) -> None:
        self._progress.step = step
        self._progress.losses.append(self._loss_value)

    def release(self) -> None:
        """Gives the adapter's parameters memory of their own."""
        self.weights.release()


class _Place(NamedTuple):
    parent: nn.Module
    leaf: str
    wrapped: nn.Module
    bare: nn.Module


class DetachedAdapter:
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
