"""One slot's training: its data order, rate, clipping and bounds, whoever computes gradients.

Knows nothing of its neighbours.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch

from harness.models.tokens import TokenSequence, data_order
from harness.packed.flat import FlatWeights
from harness.seeds import Purpose, derive
from harness.training import optimisation
from harness.training.run import DivergedError, Run


class SlotRun(Run):
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
        return torch.Generator().manual_seed(derive(self._config.seed, Purpose.DROPOUT))

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
            share = optimisation.rate_share(step, self._steps, training)
            optimisation.set_rate(self.weights.optimiser, share)
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

    def settle(self) -> None:
        """Gives the adapter's parameters memory of their own."""
        self.weights.release()
