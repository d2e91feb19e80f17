"""One slot of a pack: its training run, its flat weights, and its adapter beside the base.

`SlotTrainingRun` is the training loop of a slot, whose gradients the pack computes. `FlatWeights`
holds its weights in a few long buffers. `DetachedAdapter` takes PEFT's layers off the base and
puts them back, so that several adapters can exist of which one at most is on the base.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from harness.adapters.adapter import Adapter
from harness.models.batches import TokenSequence
from harness.training import loop
from harness.training.loop import DivergedError, TrainingRun
from harness.training.packed.lora_math import TrainedWeight
from harness.trial import Purpose, derive_seed


class FlatWeights:
    """One adapter's trained weights, with their optimizer.

    Weights, gradients and Adam's states of a parameter group lie end to end in one buffer, so that
    a step is a few operations where there were hundreds; the adapter's own parameters are views.

    Args:
        groups: as `harness.training.loop.parameter_groups` makes them.
        dtype: what matrix products take; the weights themselves stay in their own precision.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._views: dict[int, tuple[nn.Parameter, TrainedWeight]] = {}
        self._buffers: list[nn.Parameter] = []
        self._rounded: list[Tensor | None] = []
        flat_groups: list[dict[str, Any]] = []
        for group in groups:
            buffer, rounded = self._flatten(group["params"], dtype)
            flat_groups.append({**group, "params": [buffer]})
            self._buffers.append(buffer)
            self._rounded.append(rounded)
        self.optimizer = torch.optim.AdamW(flat_groups, lr=1.0, fused=True)
        self.refresh()

    def _flatten(
        self, parameters: Sequence[nn.Parameter], dtype: torch.dtype
    ) -> tuple[nn.Parameter, Tensor | None]:
        """The buffer of some parameters, and its copy in `dtype` where that is another."""
        buffer = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        buffer.grad = torch.zeros_like(buffer)
        # Vectors scale whole outputs: they are never rounded.
        as_is = buffer.dtype == dtype or parameters[0].ndim < 2
        rounded = None if as_is else torch.empty_like(buffer, dtype=dtype)
        start = 0
        for parameter in parameters:
            span = slice(start, start + parameter.numel())
            parameter.data = buffer.data[span].view(parameter.shape)
            value = parameter.data if rounded is None else rounded[span].view(parameter.shape)
            trained = TrainedWeight(value, buffer.grad[span].view(parameter.shape))
            self._views[id(parameter)] = (parameter, trained)
            start += parameter.numel()
        return buffer, rounded

    def of(self, parameter: nn.Parameter) -> TrainedWeight:
        """A parameter as products take it; one that is not trained has no gradient."""
        view = self._views.get(id(parameter))
        if view is not None:
            return view[1]
        return TrainedWeight(parameter.detach().to(self._dtype), None)

    def refresh(self) -> None:
        """Rounds the weights anew to what products take; after each step."""
        for buffer, rounded in zip(self._buffers, self._rounded, strict=True):
            if rounded is not None:
                rounded.copy_(buffer.data)

    def clip(self, bound: float) -> Tensor:
        """Scales gradients so that their norm is `bound` at most; returns the norm before."""
        return nn.utils.clip_grad_norm_(self._buffers, bound)

    def step(self) -> None:
        """AdamW's step; gradients are zero afterwards."""
        self.optimizer.step()
        self.clear()
        self.refresh()

    def clear(self) -> None:
        """Sets gradients to zero."""
        for buffer in self._buffers:
            assert buffer.grad is not None
            buffer.grad.zero_()

    def release(self) -> None:
        """Gives each parameter memory of its own."""
        for parameter, _ in self._views.values():
            parameter.data = parameter.data.clone()
        self._views.clear()


class SlotTrainingRun(TrainingRun):
    """A training run whose gradients the pack computes.

    In each step the pack asks for `next_batch`, adds up gradients in `weights`, and calls
    `record_step`; going on with the iteration then updates the weights.

    Attributes:
        weights: the adapter's, moved into flat buffers when they are first asked for.
        dtype: what products with them are computed in; the base's unless it is set before.
        generator: of dropout; one for each slot, so that no neighbour can shift the masks.
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
    def _batch_iterator(self) -> Iterator[list[TokenSequence]]:
        return self._batches()

    def next_batch(self) -> Sequence[TokenSequence]:
        """The sequences of the next step."""
        return next(self._batch_iterator)

    def record_step(
        self, loss: float, tokens: int, seconds: float, pack: int, changed: str | None = None
    ) -> None:
        """Takes what the pack computed for the last batch; its gradients are added up.

        Args:
            loss: mean loss of its answer tokens, nats a token.
            tokens: padding excluded.
            seconds: this slot's share of the time.
            pack: slots that shared the step.
            changed: what was changed because memory ran out, in one line.
        """
        self._loss_value = loss
        progress = self._progress
        progress.tokens += tokens
        progress.seconds += seconds
        progress.pack = max(progress.pack, pack)
        progress.changed = changed

    def __iter__(self) -> Iterator[int]:
        """Updates the weights with the gradients that were added up, step by step.

        Yields:
            The number of steps so far, after each step.

        Raises:
            DivergedError: the loss or the gradient is not a number, or the loss above its bound.
        """
        training, progress = self._training, self._progress
        for step in range(self._steps):
            start = time.perf_counter()
            factor = loop.schedule_factor(step, self._steps, training)
            loop.set_rate(self.weights.optimizer, factor)
            norm = self.weights.clip(training.max_gradient_norm)
            progress.step = step + 1
            progress.losses.append(self._loss_value)
            if not torch.isfinite(norm):
                self._check_divergence(self._loss_value)
                raise DivergedError(f"diverged at step {step + 1}: gradient {norm}")
            self.weights.step()
            progress.seconds += time.perf_counter() - start
            self._check_divergence(self._loss_value)
            yield step + 1

    def release(self) -> None:
        """Gives the adapter's parameters memory of their own."""
        self.weights.release()


class DetachedAdapter:
    """An adapter beside its base.

    Args:
        adapter: on the base; detached at once.
        frozen: each frozen weight with its data as they are without the adapter.
    """

    def __init__(self, adapter: Adapter, frozen: list[tuple[nn.Parameter, Tensor]]) -> None:
        self._base = adapter.base
        # Of each wrapped layer: its parent, its attribute there, PEFT's wrapper, and itself.
        self._layers: list[tuple[nn.Module, str, nn.Module, nn.Module]] = []
        for name, wrapper in adapter.layers().items():
            parent, _, attribute = name.rpartition(".")
            owner = self._base.get_submodule(parent)
            assert isinstance(wrapper, nn.Module)
            self._layers.append((owner, attribute, wrapper, wrapper.get_base_layer()))
        # PiSSA and OLoRA replace frozen weights by their residual while they are attached.
        self._swapped = [
            (weight, data, weight.data)
            for weight, data in frozen
            if weight.data_ptr() != data.data_ptr()
        ]
        self._peft_config: Any = None
        self.leave()

    def leave(self) -> None:
        """Detaches the adapter: the base is as it was without it."""
        for parent, attribute, _, layer in self._layers:
            setattr(parent, attribute, layer)
        for weight, data, _ in self._swapped:
            weight.data = data
        # With this attribute, PEFT would take the next adapter for a second one on this model.
        self._peft_config = self._base.__dict__.pop("peft_config", None)

    def enter(self) -> None:
        """Attaches the adapter again; no other may be on the base."""
        for parent, attribute, wrapper, _ in self._layers:
            setattr(parent, attribute, wrapper)
        for weight, _, data in self._swapped:
            weight.data = data
        if self._peft_config is not None:
            self._base.peft_config = self._peft_config

    @contextmanager
    def present(self) -> Iterator[None]:
        """Attached inside the context."""
        self.enter()
        try:
            yield
        finally:
            self.leave()
