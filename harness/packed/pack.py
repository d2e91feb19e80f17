"""`Pack`: the frozen base with the adapters that share it; one forward and backward pass for all.

Knows the base, slots and token sequences; nothing of tasks, scores or trials.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import nn
from torch.nn import functional

from harness.adapters.adapter import Adapter
from harness.adapters.proof import NAME
from harness.models.base_model import BaseModel
from harness.models.tokens import TokenSequence
from harness.packed.attention import attending
from harness.packed.flat import FlatWeights
from harness.packed.layout import Layout, Share, laid_out
from harness.packed.linear import PackedLinear, installed
from harness.packed.parts import DoraPart, Dropout, LoraPart, Part, Removed
from harness.training.completion_loss import exactly

#: Rows of a slot are filled up to a multiple of this where products are in half precision on a
#: processor: its library prepares each size of a product anew, which can take longer than that.
_ROUNDED: Final = 32


class Pack:
    """Adapters on one base.

    Args:
        base: no adapter attached.
        layers: names of the linear layers that adapters may be on.
    """

    def __init__(self, base: BaseModel, layers: Sequence[str]) -> None:
        """Changes nothing yet."""
        self._base = base
        self._anchor = torch.zeros((), device=base.device, requires_grad=True)
        self.layers = {
            name: PackedLinear(base.model.get_submodule(name), self._anchor) for name in layers
        }
        self.dtype = next(base.model.parameters()).dtype
        half = self.dtype in (torch.bfloat16, torch.float16)
        self._rounded = _ROUNDED if half and base.device.type == "cpu" else 1

    @property
    def device(self) -> torch.device:
        """Where the base lies."""
        return self._base.device

    def answers(self, batch: Sequence[TokenSequence]) -> int:
        """How many answer tokens some sequences have."""
        return sum(len(_learnt(one)) for one in batch)

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
            removed = _start(layer, self.dtype) if adapter.variant.kind == "decomposed" else None
            self.layers[name].parts[slot] = _part(layer, weights, dropout, removed)

    def remove(self, slot: int) -> None:
        """Frees a slot."""
        for layer in self.layers.values():
            layer.parts.pop(slot, None)

    def losses(self, batches: Mapping[int, Sequence[TokenSequence]]) -> dict[int, torch.Tensor]:
        """The summed loss of each slot's answers in nats; gradients flow through.

        Args:
            batches: sequences of each slot.
        """
        sequences: list[TokenSequence] = []
        shares: list[Share] = []
        row = 0
        for slot, batch in batches.items():
            sequences += batch
            size = sum(len(one.ids) for one in batch)
            missing = -size % self._rounded
            if missing:
                pad = int(self._base.tokenizer.pad_token_id)
                sequences.append(TokenSequence((pad,) * missing, missing))
            shares.append(Share(slot, row, row + size + missing))
            row += size + missing
        device = self._base.device
        layout = Layout(tuple(shares), _lengths(sequences), device)
        ids = torch.tensor([[token for one in sequences for token in one.ids]], device=device)
        rows, targets, counts = _answers(sequences, shares)
        with ExitStack() as stack:
            stack.enter_context(installed(self.layers))
            stack.enter_context(attending(self._base.model))
            stack.enter_context(laid_out(layout))
            logits = self._logits(ids, layout, torch.tensor(rows, device=device))
        each = functional.cross_entropy(
            logits, torch.tensor(targets, device=device), reduction="none"
        )
        parts = torch.split(each, counts)
        return {slot: part.sum() for slot, part in zip(batches, parts, strict=True)}

    def _logits(self, ids: torch.Tensor, layout: Layout, rows: torch.Tensor) -> torch.Tensor:
        found = self._base.model(
            input_ids=ids, position_ids=layout.positions, use_cache=False, logits_to_keep=rows
        ).logits[0]
        return exactly(found)


def _lengths(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Lengths of all texts, those that share a row apart."""
    found: list[int] = []
    for one in sequences:
        ends = (*one.breaks, len(one.ids))
        found += [end - start for start, end in zip((0, *ends), ends, strict=False)]
    return tuple(found)


def _answers(
    sequences: Sequence[TokenSequence], shares: Sequence[Share]
) -> tuple[list[int], list[int], list[int]]:
    """Rows that predict an answer token, these tokens, and how many each slot has."""
    rows: list[int] = []
    targets: list[int] = []
    counts = [0] * len(shares)
    first = place = 0
    for one in sequences:
        while first >= shares[place].end:
            place += 1
        seen = _learnt(one)
        rows += [first + at for at in seen]
        targets += [one.ids[at + 1] for at in seen]
        counts[place] += len(seen)
        first += len(one.ids)
    return rows, targets, counts


def _learnt(one: TokenSequence) -> list[int]:
    """Places whose next token is an answer's, or of a text that is learnt whole."""
    apart = {end - 1 for end in one.breaks}
    return [at for at in range(max(0, one.start - 1), len(one.ids) - 1) if at not in apart]


def _start(layer: LoraLayer, dtype: torch.dtype) -> Removed:
    """What PiSSA and OLoRA take out of the frozen weights: the A and B that they start with."""
    parts = (layer.lora_A[NAME], layer.lora_B[NAME])
    first, second = (part.get_parameter("weight").detach().clone().to(dtype) for part in parts)
    return Removed(first, second, float(layer.scaling[NAME]))


def _part(
    layer: LoraLayer, weights: FlatWeights, dropout: Dropout, removed: Removed | None
) -> Part:
    first = weights.of(layer.lora_A[NAME].get_parameter("weight"))
    second = weights.of(layer.lora_B[NAME].get_parameter("weight"))
    scale = float(layer.scaling[NAME])
    variant = layer.lora_variant.get(NAME)
    if isinstance(variant, DoraLinearVariant):
        vector: nn.Module = layer.lora_magnitude_vector[NAME]
        magnitude = weights.of(vector.get_parameter("weight"))
        return DoraPart(first, second, scale, dropout, magnitude)
    return LoraPart(first, second, scale, dropout, removed)
