"""`AdapterPack`: a frozen base that several adapters share, with one pass for all of them.

The sequences of all slots lie end to end in one row, and `Layout` says which rows are whose.
`MicroBatcher` cuts a step into passes that fit in memory. The mean loss of a batch does not depend
on the cut, nor does any gradient: smaller passes take longer and need less.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby, pairwise
from typing import Final

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
from harness.training.generation import ForwardContext
from harness.training.loop import micro_batch_note, retry_out_of_memory
from harness.training.losses import in_float32
from harness.training.packed import layers as kernels
from harness.training.packed.layers import PackedLinear, make_inference_lora, packed_layers
from harness.training.packed.layout import Layout, SlotRows, use_layout, use_packed_attention
from harness.training.packed.lora_math import DoraOp, Dropout, LoraOp, RemovedInit
from harness.training.packed.prefix_cache import PrefixSkipper
from harness.training.packed.slot import FlatWeights, SlotTrainingRun

#: Sequences of each slot in a pass, by slot.
Batches = Mapping[int, Sequence[TokenSequence]]
#: Rows of a slot are filled up to a multiple of this where products are in half precision on a
#: processor: its library prepares each size of a product anew, which can take longer than that.
_ROW_MULTIPLE: Final = 32


def sequence_lengths(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Lengths of all texts; texts that share a row count one by one."""
    return tuple(
        end - start
        for sequence in sequences
        for start, end in pairwise((0, *sequence.breaks, len(sequence.ids)))
    )


def answer_rows(
    sequences: Sequence[TokenSequence], shares: Sequence[SlotRows]
) -> tuple[list[int], list[int], list[int]]:
    """Rows that predict an answer token, these tokens, and how many each slot has."""
    rows: list[int] = []
    targets: list[int] = []
    counts = [0] * len(shares)
    first_row = share = 0
    for sequence in sequences:
        positions = label_positions(sequence)
        while positions and first_row >= shares[share].end:
            share += 1
        rows += [first_row + position for position in positions]
        targets += [sequence.ids[position + 1] for position in positions]
        counts[share] += len(positions)
        first_row += len(sequence.ids)
    return rows, targets, counts


def label_positions(sequence: TokenSequence) -> list[int]:
    """Positions whose next token is an answer's, or of a text that has its loss on all tokens."""
    last_of_text = {end - 1 for end in sequence.breaks}
    start = max(0, sequence.start - 1)
    return [at for at in range(start, len(sequence.ids) - 1) if at not in last_of_text]


class AdapterPack:
    """Adapters on one base.

    Args:
        base: no adapter attached.
        layers: names of the linear layers that adapters may be on.
        prefix_cache: whether the layers below the lowest adapter run once for each text; see
            `compatibility.supports_prefix_cache`.

    Attributes:
        layers: the packed layers by name.
        dtype: what products with adapters are computed in.
    """

    def __init__(self, base: BaseModel, layers: Sequence[str], prefix_cache: bool = False) -> None:
        self._base = base
        # Nothing below the lowest adapter requires a gradient; this does, so that autograd goes
        # back through the packed layers.
        anchor = torch.zeros((), device=base.device, requires_grad=True)
        kernel = kernels.kernel_for(base.device)
        self.layers = {
            name: PackedLinear(base.model.get_submodule(name), anchor, kernel) for name in layers
        }
        on_gpu = base.device.type == "cuda"
        self._skipper = PrefixSkipper(base.model, self.layers, on_gpu) if prefix_cache else None
        self.dtype = next(base.model.parameters()).dtype
        half = self.dtype in (torch.bfloat16, torch.float16)
        self._row_multiple = _ROW_MULTIPLE if half and base.device.type == "cpu" else 1

    @property
    def device(self) -> torch.device:
        """Where the base is."""
        return self._base.device

    def free_cache(self) -> None:
        """Gives up memory that only saves time, as some ran out."""
        if self._skipper is not None:
            self._skipper.cache.disable()

    def answer_count(self, batch: Sequence[TokenSequence]) -> int:
        """How many answer tokens some sequences have."""
        return sum(len(label_positions(sequence)) for sequence in batch)

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
        decomposed = adapter.variant.method == "decomposed"
        for name, layer in wrapped.items():
            removed = _removed_init(layer, self.dtype) if decomposed else None
            self.layers[name].parts[slot] = _adapter_op(layer, weights, dropout, removed)

    def remove(self, slot: int) -> None:
        """Frees a slot."""
        for layer in self.layers.values():
            layer.parts.pop(slot, None)

    @contextmanager
    def inference(
        self, adapters: Mapping[int, Mapping[str, LoraLayer]]
    ) -> Iterator[ForwardContext]:
        """Has the base run with several adapters as they are now, without gradients.

        Args:
            adapters: PEFT's layers of each slot by name.

        Yields:
            The context that each call of the model needs.
        """
        try:
            for slot, wrapped in adapters.items():
                for name, layer in wrapped.items():
                    packed = self.layers[name]
                    part, frozen = packed.parts[slot], packed.frozen
                    packed.inference[slot] = make_inference_lora(layer, part, frozen)
            with packed_layers(self.layers):
                yield lambda owners, width: use_layout(_equal_rows(owners, width, self.device))
        finally:
            for packed in self.layers.values():
                packed.inference.clear()

    def accumulate_gradients(
        self, batches: Batches, answers: Mapping[int, int]
    ) -> dict[int, float]:
        """Adds up every slot's gradients of its mean loss.

        Args:
            batches: sequences of each slot.
            answers: what each slot's summed loss is divided by.

        Returns:
            Each slot's summed loss over its divisor, nats a token.
        """
        losses = self.losses(batches)
        means = torch.stack([loss / answers[slot] for slot, loss in losses.items()])
        means.sum().backward()  # type: ignore[no-untyped-call]
        return dict(zip(losses, means.tolist(), strict=True))

    def losses(self, batches: Batches) -> dict[int, Tensor]:
        """The summed loss of each slot's answers in nats; gradients flow through."""
        sequences, layout = self._lay_out(batches)
        ids = torch.tensor([token for text in sequences for token in text.ids], device=self.device)
        rows, target_ids, counts = answer_rows(sequences, layout.shares)
        with ExitStack() as stack:
            stack.enter_context(packed_layers(self.layers))
            stack.enter_context(use_packed_attention(self._base.model))
            if self._skipper is not None:
                stack.enter_context(self._skipper.start_at_lowest(ids, layout))
            stack.enter_context(use_layout(layout))
            # Of the answer rows alone: the output head is the largest product of all.
            logits = self._base.model(
                input_ids=ids[None],
                position_ids=layout.positions,
                use_cache=False,
                logits_to_keep=torch.tensor(rows, device=self.device),
            ).logits[0]
            logits = in_float32(logits)  # those in half precision are freed here
        targets = torch.tensor(target_ids, device=self.device)
        token_losses = functional.cross_entropy(logits, targets, reduction="none")
        slot_losses = torch.split(token_losses, counts)
        return {slot: losses.sum() for slot, losses in zip(batches, slot_losses, strict=True)}

    def _lay_out(self, batches: Batches) -> tuple[list[TokenSequence], Layout]:
        """The sequences of a pass, end to end, each slot's rows filled up to a round number."""
        sequences: list[TokenSequence] = []
        shares: list[SlotRows] = []
        pad = int(self._base.tokenizer.pad_token_id)
        row = 0
        for slot, batch in batches.items():
            sequences += batch
            start = row
            row += sum(len(sequence.ids) for sequence in batch)
            missing = -row % self._row_multiple
            if missing:  # a sequence without an answer: it has no loss
                sequences.append(TokenSequence((pad,) * missing, missing))
            row += missing
            shares.append(SlotRows(slot, start, row))
        return sequences, Layout(tuple(shares), sequence_lengths(sequences), self.device)


def _equal_rows(owners: Sequence[int], width: int, device: torch.device) -> Layout:
    """The layout of sequences of `width` tokens each; those of one owner are neighbours."""
    shares: list[SlotRows] = []
    for slot, rows in groupby(owners):
        start = shares[-1].end if shares else 0
        shares.append(SlotRows(slot, start, start + width * len([*rows])))
    return Layout(tuple(shares), (width,) * len(owners), device)


def _removed_init(layer: LoraLayer, dtype: torch.dtype) -> RemovedInit:
    """What PiSSA and OLoRA take out of the frozen weights: the A and B that they start with."""
    matrices = (layer.lora_A[NAME], layer.lora_B[NAME])
    first, second = (m.get_parameter("weight").detach().clone().to(dtype) for m in matrices)
    return RemovedInit(first, second, float(layer.scaling[NAME]))


def _adapter_op(
    layer: LoraLayer, weights: FlatWeights, dropout: Dropout, removed: RemovedInit | None
) -> LoraOp:
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
    """Cuts a step of all slots into passes that fit in memory.

    Args:
        pack: the base with its slots.
        training: how many sequences of a slot are in a pass at first.

    Attributes:
        micro_batch: sequences of a slot in a pass at most.
        slots: slots in a pass at most; None for all.
    """

    def __init__(self, pack: AdapterPack, training: TrainingSettings) -> None:
        self._pack, self._configured = pack, training.micro_batch
        self.micro_batch = training.micro_batch
        self.slots: int | None = None

    @property
    def changed(self) -> str | None:
        """What is not as configured, because memory ran out; None where all is."""
        if self.slots is not None:
            adapters = f"{self.slots} adapter{'s' * (self.slots != 1)}"
            return f"memory ran out: micro-batches of 1 sequence of {adapters}"
        if self.micro_batch < self._configured:
            return micro_batch_note(self.micro_batch, self._configured)
        return None

    def step(self, runs: Mapping[int, SlotTrainingRun]) -> dict[int, Exception]:
        """Adds up every slot's gradients of its next batch, and records its loss in its run.

        Where memory runs out, passes are halved, first the sequences, then the slots, and the
        step begins anew. What fails all the same is tried slot by slot, so that one trial's
        error does not end the others.

        Args:
            runs: by slot.

        Returns:
            The error of each slot whose step is lost.
        """
        batches = {slot: run.next_batch() for slot, run in runs.items()}
        before = self.micro_batch, self.slots
        start = time.perf_counter()
        losses, errors = self._try(batches, runs)
        if errors and len(runs) > 1:
            losses, errors = {}, {}
            for slot in runs:
                slot_losses, slot_errors = self._try({slot: batches[slot]}, {slot: runs[slot]})
                losses |= slot_losses
                errors |= slot_errors
            if errors:  # passes were halved for a trial that is over now
                self.micro_batch, self.slots = before
        seconds = time.perf_counter() - start
        tokens = {slot: sum(len(text.ids) for text in batch) for slot, batch in batches.items()}
        total = sum(tokens.values())
        for slot, loss in losses.items():
            share = seconds * tokens[slot] / total
            runs[slot].record_step(loss, tokens[slot], share, len(runs), self.changed)
        return errors

    def _try(
        self, batches: Batches, runs: Mapping[int, SlotTrainingRun]
    ) -> tuple[dict[int, float], dict[int, Exception]]:
        """Mean losses by slot, or the error by slot; gradients are zero after an error."""

        def discard() -> None:
            for run in runs.values():
                run.weights.clear()

        try:
            losses = retry_out_of_memory(
                lambda: self._accumulate(batches), discard, lambda: self._halve(len(runs))
            )
        except Exception as error:
            # With its traceback it would keep the failed pass in memory.
            return {}, dict.fromkeys(batches, error.with_traceback(None))
        return losses, {}

    def _accumulate(self, batches: Batches) -> dict[int, float]:
        answers = {slot: self._pack.answer_count(batch) for slot, batch in batches.items()}
        losses = dict.fromkeys(batches, 0.0)
        for part in self._passes(batches):
            # Dividing by the answers of the full batch makes passes equal one large batch.
            for slot, loss in self._pack.accumulate_gradients(part, answers).items():
                losses[slot] += loss
        return losses

    def _passes(self, batches: Batches) -> Iterator[Batches]:
        slots, size = list(batches), self.micro_batch
        most = self.slots or len(slots)
        for first in range(0, len(slots), most):
            group = slots[first : first + most]
            longest = max(len(batches[slot]) for slot in group)
            for start in range(0, longest, size):
                parts = {slot: batches[slot][start : start + size] for slot in group}
                yield {slot: part for slot, part in parts.items() if part}

    def _halve(self, running: int) -> bool:
        """Makes passes of a step of so many slots smaller; False if they cannot be."""
        slots = min(self.slots or running, running)
        if self.micro_batch > 1:
            self.micro_batch //= 2
        elif slots > 1:
            self.slots = slots // 2
        else:
            return False  # the cache stays: without a second try it would be freed for nothing
        self._pack.free_cache()
        return True
