"""How the rows of one step are cut into passes, and what is done when memory runs out.

The mean loss of a batch does not depend on the cut, nor does any gradient: smaller passes take
longer and need less. Knows slots and their batches, nothing of trials.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import torch

from harness.models.memory import ran_out
from harness.models.tokens import TokenSequence
from harness.packed.pack import Batches, Pack
from harness.packed.slot import SlotRun
from harness.settings import TrainingSettings


class Passes:
    """The passes of a step.

    Args:
        pack: the base with its slots.
        training: how many sequences of a slot are in a pass at first.

    Attributes:
        rows: sequences of a slot in a pass at most.
        together: slots in a pass at most; None for all.
    """

    def __init__(self, pack: Pack, training: TrainingSettings) -> None:
        """Starts with the micro-batch that was asked for."""
        self._pack, self._asked = pack, training.micro_batch
        self.rows = training.micro_batch
        self.together: int | None = None

    @property
    def changed(self) -> str | None:
        """What is not as asked for, because memory ran out; None where all is."""
        if self.together is not None:
            adapters = f"{self.together} adapter{'s' * (self.together != 1)}"
            return f"memory ran out: passes of 1 sequence of {adapters}"
        if self.rows < self._asked:
            rows = f"{self.rows} sequence{'s' * (self.rows != 1)}"
            return f"memory ran out: passes of {rows} instead of {self._asked}"
        return None

    def step(self, runs: Mapping[int, SlotRun]) -> dict[int, Exception]:
        """Adds up every slot's gradients of its next batch, and tells each what it came to.

        Where memory runs out, passes are halved, first the sequences, then the slots, and the
        step is begun anew. What fails all the same is tried slot by slot, so that none takes
        another along.

        Args:
            runs: by slot.

        Returns:
            What went wrong, of each slot whose step is lost.
        """
        drawn = {slot: run.draw() for slot, run in runs.items()}
        before = self.rows, self.together
        start = time.perf_counter()
        losses, lost = self._tried(drawn, runs)
        if lost and len(runs) > 1:
            each = [self._tried({slot: drawn[slot]}, {slot: runs[slot]}) for slot in runs]
            losses = {slot: loss for found, _ in each for slot, loss in found.items()}
            lost = {slot: error for _, found in each for slot, error in found.items()}
            if lost:  # passes were halved for a trial that is over now
                self.rows, self.together = before
        seconds = time.perf_counter() - start
        sizes = {slot: sum(len(one.ids) for one in batch) for slot, batch in drawn.items()}
        whole = sum(sizes.values())
        for slot, loss in losses.items():
            share = seconds * sizes[slot] / whole
            runs[slot].tell(loss, sizes[slot], share, len(runs), self.changed)
        return lost

    def _tried(
        self, drawn: Mapping[int, Sequence[TokenSequence]], runs: Mapping[int, SlotRun]
    ) -> tuple[dict[int, float], dict[int, Exception]]:
        """Mean losses, or what went wrong."""
        try:
            return self._fitting(drawn, runs), {}
        except Exception as error:
            # With its traceback it would keep the failed pass in memory.
            return {}, dict.fromkeys(drawn, error.with_traceback(None))

    def _fitting(
        self, drawn: Mapping[int, Sequence[TokenSequence]], runs: Mapping[int, SlotRun]
    ) -> dict[int, float]:
        """The mean losses, in passes as large as memory allows.

        Raises:
            Exception: whatever went wrong; gradients are zero.
        """
        while True:
            try:
                return self._gradients(drawn)
            except Exception as error:
                for run in runs.values():
                    run.weights.clear()
                if not ran_out(error) or not self._halve(len(runs)):
                    raise
            # Outside of the handler, which would keep the failed pass alive.
            self._pack.give_back()
            if self._pack.device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients(self, drawn: Mapping[int, Sequence[TokenSequence]]) -> dict[int, float]:
        answers = {slot: self._pack.answers(batch) for slot, batch in drawn.items()}
        losses = dict.fromkeys(drawn, 0.0)
        for batches in self._cut(drawn):
            # Dividing by the answers of the whole batch makes passes equal one large batch.
            for slot, loss in self._pack.gradients(batches, answers).items():
                losses[slot] += loss
        return losses

    def _cut(self, drawn: Mapping[int, Sequence[TokenSequence]]) -> Iterator[Batches]:
        slots = list(drawn)
        together = self.together or len(slots)
        for first in range(0, len(slots), together):
            chosen = slots[first : first + together]
            longest = max(len(drawn[slot]) for slot in chosen)
            for begin in range(0, longest, self.rows):
                parts = {slot: drawn[slot][begin : begin + self.rows] for slot in chosen}
                yield {slot: part for slot, part in parts.items() if part}

    def _halve(self, slots: int) -> bool:
        """Makes passes smaller; whether that was possible."""
        if self.rows > 1:
            self.rows //= 2
            return True
        together = min(self.together or slots, slots)
        if together > 1:
            self.together = together // 2
            return True
        return False
