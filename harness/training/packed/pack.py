"""`AdapterPack`: the frozen base with the adapters that share it, one pass for all of them.

Knows the base, slots and token sequences; nothing of tasks, scores or trials.

Sequences end to end: where each text ends, and which rows predict an answer.

Knows token sequences and shares of rows, nothing of models.

How the rows of one step are cut into passes, and what is done when memory runs out.

The mean loss of a batch does not depend on the cut, nor does any gradient: smaller passes take
longer and need less. Knows slots and their batches, nothing of trials.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from typing import Final, NamedTuple

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.nn import functional

from harness.adapters.adapter import Adapter
from harness.adapters.proofs import NAME
from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence
from harness.models.memory import is_out_of_memory
from harness.training.generation import ForwardContext
from harness.training.losses import in_float32
from harness.training.packed import layers as kernels
from harness.training.packed.layers import PackedLinear, make_inference_lora, packed_layers
from harness.training.packed.layout import (
    Layout,
    SlotRows,
    use_layout,
    use_packed_attention,
)
from harness.training.packed.lora_math import AdapterOp, DoraOp, Dropout, LoraOp, RemovedInit
from harness.training.packed.prefix_cache import OwnLayers
from harness.training.packed.slot import FlatWeights, SlotTrainingRun


def lengths(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Lengths of all texts, those that share a row apart."""
    found: list[int] = []
    for one in sequences:
        ends = (*one.breaks, len(one.ids))
        found += [end - start for start, end in zip((0, *ends), ends, strict=False)]
    return tuple(found)


def answer_rows(
    sequences: Sequence[TokenSequence], shares: Sequence[SlotRows]
) -> tuple[list[int], list[int], list[int]]:
    """Rows that predict an answer token, these tokens, and how many each slot has."""
    rows: list[int] = []
    targets: list[int] = []
    counts = [0] * len(shares)
    first = place = 0
    for one in sequences:
        seen = label_positions(one)
        while seen and first >= shares[place].end:
            place += 1
        rows += [first + at for at in seen]
        targets += [one.ids[at + 1] for at in seen]
        counts[place] += len(seen)
        first += len(one.ids)
    return rows, targets, counts


def label_positions(one: TokenSequence) -> list[int]:
    """Places whose next token is an answer's, or of a text that is learnt whole."""
    apart = {end - 1 for end in one.breaks}
    return [at for at in range(max(0, one.start - 1), len(one.ids) - 1) if at not in apart]


#: The sequences of some slots that go through the base together.
Batches = Mapping[int, Sequence[TokenSequence]]

#: Rows of a slot are filled up to a multiple of this where products are in half precision on a
#: processor: its library prepares each size of a product anew, which can take longer than that.
_ROUNDED: Final = 32


class _Rows(NamedTuple):
    """All sequences of a pass, end to end.

    Attributes:
        ids: tokens, shape (rows,).
        layout: whose they are.
        picked: rows that predict an answer token.
        targets: these tokens.
        counts: how many each slot has, in the order of the slots.
    """

    ids: Tensor
    layout: Layout
    picked: list[int]
    targets: list[int]
    counts: list[int]


class AdapterPack:
    """Adapters on one base.

    Args:
        base: no adapter attached.
        layers: names of the linear layers that adapters may be on.
        enters: whether layers are left out below the lowest adapter; see
            `compatibility.supports_prefix_cache`.

    Attributes:
        dtype: what adapters' products are made in.
    """

    def __init__(
        self,
        base: BaseModel,
        layers: Sequence[str],
        enters: bool = False,
    ) -> None:
        self._base = base
        self._anchor = torch.zeros((), device=base.device, requires_grad=True)
        kernel = kernels.kernel_for(base.device)
        self.layers = {
            name: PackedLinear(base.model.get_submodule(name), self._anchor, kernel)
            for name in layers
        }
        gpu = base.device.type == "cuda"
        self._own = OwnLayers(base.model, self.layers, together=gpu) if enters else None
        self.dtype = next(base.model.parameters()).dtype
        half = self.dtype in (torch.bfloat16, torch.float16)
        self._rounded = _ROUNDED if half and base.device.type == "cpu" else 1

    @property
    def device(self) -> torch.device:
        """Where the base lies."""
        return self._base.device

    def give_back(self) -> None:
        """Gives back memory that only saves time: some ran out."""
        if self._own is not None:
            self._own.below.give_back()

    def answers(self, batch: Sequence[TokenSequence]) -> int:
        """How many answer tokens some sequences have."""
        return sum(len(label_positions(one)) for one in batch)

    def add(
        self,
        slot: int,
        adapter: Adapter,
        weights: FlatWeights,
        generator: torch.Generator,
        wrapped: Mapping[str, LoraLayer],
    ) -> None:
        """Gives a slot to an adapter.

        Args:
            slot: a free one.
            adapter: made by PEFT.
            weights: its trained weights.
            generator: draws its dropout.
            wrapped: PEFT's layers by name.
        """
        dropout = Dropout(adapter.config.dropout, generator)
        for name, layer in wrapped.items():
            removed = _start(layer, self.dtype) if adapter.variant.method == "decomposed" else None
            self.layers[name].parts[slot] = _part(layer, weights, dropout, removed)

    def remove(self, slot: int) -> None:
        """Frees a slot."""
        for layer in self.layers.values():
            layer.parts.pop(slot, None)

    @contextmanager
    def inference(
        self, adapters: Mapping[int, Mapping[str, LoraLayer]]
    ) -> Iterator[ForwardContext]:
        """Has the base run with several adapters meanwhile, as they are now, no way back.

        Args:
            adapters: PEFT's layers of each slot by name.

        Yields:
            What each call of the model is to be inside of.
        """
        try:
            for slot, wrapped in adapters.items():
                for name, layer in wrapped.items():
                    here = self.layers[name]
                    part = here.parts[slot]
                    assert isinstance(part, LoraOp)
                    here.still[slot] = make_inference_lora(layer, part, here.frozen)
            with packed_layers(self.layers):
                yield lambda owners, width: use_layout(_in_turn(owners, width, self.device))
        finally:
            for each in self.layers.values():
                each.still.clear()

    def gradients(self, batches: Batches, answers: Mapping[int, int]) -> dict[int, float]:
        """Adds up every slot's gradients of its mean loss.

        Args:
            batches: sequences of each slot.
            answers: what each slot's summed loss is divided by.

        Returns:
            Each slot's summed loss by its divisor, nats a token.
        """
        losses = self.losses(batches)
        means = torch.stack([loss / answers[slot] for slot, loss in losses.items()])
        means.sum().backward()  # type: ignore[no-untyped-call]
        return dict(zip(losses, means.tolist(), strict=True))

    def losses(self, batches: Batches) -> dict[int, Tensor]:
        """The summed loss of each slot's answers in nats; gradients flow through.

        Args:
            batches: sequences of each slot.
        """
        rows = self._rows(batches)
        device = self.device
        with ExitStack() as stack:
            stack.enter_context(packed_layers(self.layers))
            stack.enter_context(use_packed_attention(self._base.model))
            if self._own is not None:
                stack.enter_context(self._own.from_lowest(rows.ids, rows.layout))
            stack.enter_context(use_layout(rows.layout))
            logits = self._logits(rows)
        targets = torch.tensor(rows.targets, device=device)
        each = functional.cross_entropy(logits, targets, reduction="none")
        parts = torch.split(each, rows.counts)
        return {slot: part.sum() for slot, part in zip(batches, parts, strict=True)}

    def _rows(self, batches: Batches) -> _Rows:
        """Lays sequences end to end, each slot's rows filled up to a round number."""
        sequences: list[TokenSequence] = []
        shares: list[SlotRows] = []
        pad = int(self._base.tokenizer.pad_token_id)
        row = 0
        for slot, batch in batches.items():
            sequences += batch
            start = row
            row += sum(len(one.ids) for one in batch)
            missing = -row % self._rounded
            if missing:
                sequences.append(TokenSequence((pad,) * missing, missing))
            row += missing
            shares.append(SlotRows(slot, start, row))
        layout = Layout(tuple(shares), lengths(sequences), self.device)
        ids = torch.tensor([token for one in sequences for token in one.ids], device=self.device)
        return _Rows(ids, layout, *answer_rows(sequences, shares))

    def _logits(self, rows: _Rows) -> Tensor:
        found = self._base.model(
            input_ids=rows.ids[None],
            position_ids=rows.layout.positions,
            use_cache=False,
            logits_to_keep=torch.tensor(rows.picked, device=self.device),
        ).logits[0]
        return in_float32(found)


def _in_turn(owners: Sequence[int], width: int, device: torch.device) -> Layout:
    """Rows of `width` tokens each, those of one owner side by side."""
    shares: list[SlotRows] = []
    for slot, rows in groupby(owners):
        start = shares[-1].end if shares else 0
        shares.append(SlotRows(slot, start, start + width * len([*rows])))
    return Layout(tuple(shares), (width,) * len(owners), device)


def _start(layer: LoraLayer, dtype: torch.dtype) -> RemovedInit:
    """What PiSSA and OLoRA take out of the frozen weights: the A and B that they start with."""
    parts = (layer.lora_A[NAME], layer.lora_B[NAME])
    first, second = (part.get_parameter("weight").detach().clone().to(dtype) for part in parts)
    return RemovedInit(first, second, float(layer.scaling[NAME]))


def _part(
    layer: LoraLayer, weights: FlatWeights, dropout: Dropout, removed: RemovedInit | None
) -> AdapterOp:
    first = weights.of(layer.lora_A[NAME].get_parameter("weight"))
    second = weights.of(layer.lora_B[NAME].get_parameter("weight"))
    scale = float(layer.scaling[NAME])
    variant = layer.lora_variant.get(NAME)
    if isinstance(variant, DoraLinearVariant):
        vector: nn.Module = layer.lora_magnitude_vector[NAME]
        magnitude = weights.of(vector.get_parameter("weight"))
        return DoraOp(first, second, scale, dropout, magnitude)
    return LoraOp(first, second, scale, dropout, removed)


class MicroBatcher:
    """The passes of a step.

    Args:
        pack: the base with its slots.
        training: how many sequences of a slot are in a pass at first.

    Attributes:
        rows: sequences of a slot in a pass at most.
        together: slots in a pass at most; None for all.
    """

    def __init__(self, pack: AdapterPack, training: TrainingSettings) -> None:
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

    def step(self, runs: Mapping[int, SlotTrainingRun]) -> dict[int, Exception]:
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
        self, drawn: Mapping[int, Sequence[TokenSequence]], runs: Mapping[int, SlotTrainingRun]
    ) -> tuple[dict[int, float], dict[int, Exception]]:
        """Mean losses, or what went wrong."""
        try:
            return self._fitting(drawn, runs), {}
        except Exception as error:
            # With its traceback it would keep the failed pass in memory.
            return {}, dict.fromkeys(drawn, error.with_traceback(None))

    def _fitting(
        self, drawn: Mapping[int, Sequence[TokenSequence]], runs: Mapping[int, SlotTrainingRun]
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
                if not is_out_of_memory(error) or not self._halve(len(runs)):
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
