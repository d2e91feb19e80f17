"""A Llama-like model gone through by hand: losses and gradients without autograd's bookkeeping.

On a small model most of a step is not matrix products but the hundreds of small operations around
them, and what autograd does for each. Here each piece has its way back, nothing is computed whose
gradient nobody needs, and the last layer goes on with the rows that predict an answer alone. The
stream between the layers is in float32 even where products are in half precision. Knows token
ids and layouts, nothing of trials.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from harness.packed.below import Below
from harness.packed.decoder_parts import (
    Core,
    KeptAttention,
    KeptGate,
    KeptNorm,
    Norm,
    Turn,
    gated,
    ungated,
)
from harness.packed.layout import Layout, Picked, laid_out
from harness.packed.linear import Kept, PackedLinear

NORMS: Final = ("input_layernorm", "post_attention_layernorm")
ATTENTION: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED: Final = ("gate_proj", "up_proj", "down_proj")


class Asked(NamedTuple):
    """What a pass is asked for.

    Attributes:
        ids: tokens of all sequences, end to end, shape (rows,).
        layout: whose they are.
        picked: the rows that predict an answer token, in their order.
        targets: these tokens, shape (answers,).
        factors: of each one's loss in what gradients are of, shape (answers,); zero for rows that
            only fill up.
    """

    ids: Tensor
    layout: Layout
    picked: Picked
    targets: Tensor
    factors: Tensor


class Decoder:
    """A model whose layers are of the known shape.

    Args:
        model: see `fitting.by_hand`.
        linears: its linear layers by name, the head apart.

    Attributes:
        dtype: of the stream.
        below: what its lower layers made of texts that come again.
    """

    def __init__(self, model: PreTrainedModel, linears: Mapping[str, PackedLinear]) -> None:
        """Keeps views of the weights."""
        inner: Any = model.model
        head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        weight = head.weight.detach()
        self.dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._embedding, self._rotary = inner.embed_tokens, inner.rotary_emb
        prefix = f"{model.base_model_prefix}.layers"
        self._layers = [
            _Layer(layer, {name: linears[f"{prefix}.{i}.{name}"] for name in _names()}, self.dtype)
            for i, layer in enumerate(inner.layers)
        ]
        self._norm = Norm(inner.norm, self.dtype)
        self._head = weight
        self.below = Below(self._before)

    def gradients(self, asked: Asked) -> Tensor:
        """Losses of the answer tokens, shape (answers,); adds up gradients in all parts.

        Losses are in nats, gradients those of the sum of losses times factors.
        """
        lowest = self._lowest(asked.layout)
        kept: list[_KeptLayer] = []
        logits, last = self._forward(asked, lowest, kept)
        losses, gradient = _cross_entropy(logits, asked)
        if lowest is None:
            return losses
        flowing = self._norm.backward(last, self._through_head(gradient))
        for index in range(len(self._layers) - 1, lowest - 1, -1):
            layer = self._layers[index]
            picked = asked.picked if index == len(self._layers) - 1 else None
            flowing = layer.backward(kept.pop(), flowing, picked, index > lowest)
        return losses

    def logits(self, asked: Asked) -> Tensor:
        """Logits of the picked rows, shape (answers, words)."""
        return self._forward(asked, None, [])[0]

    def _forward(
        self, asked: Asked, lowest: int | None, kept: "list[_KeptLayer]"
    ) -> tuple[Tensor, KeptNorm]:
        layout = asked.layout
        if lowest:
            stream = self.below.rows(lowest, asked.ids, layout)
        else:
            stream = self._embedding(asked.ids).to(self.dtype)
        turn = self._turn(stream, layout)
        last = len(self._layers) - 1
        with laid_out(layout):
            for index, layer in enumerate(self._layers[lowest or 0 :], lowest or 0):
                learns = lowest is not None and index >= lowest
                picked = asked.picked if index == last else None
                stream, found = layer.forward(stream, turn, layout, picked, learns)
                if learns:
                    kept.append(found)
        unit, norm = self._norm.forward(stream)
        return self._logits(unit), norm

    def _before(self, level: int, ids: Tensor, layout: Layout) -> Tensor:
        """The stream before a layer, no adapter below it."""
        stream: Tensor = self._embedding(ids).to(self.dtype)
        turn = self._turn(stream, layout)
        with laid_out(layout):
            for layer in self._layers[:level]:
                stream, _ = layer.forward(stream, turn, layout, None, learns=False)
        return stream

    def _turn(self, stream: Tensor, layout: Layout) -> Turn:
        cosines, sines = self._rotary(stream[None], layout.positions)
        return Turn(cosines[0], sines[0])

    def _logits(self, rows: Tensor) -> Tensor:
        head = self._head
        return functional.linear(rows.to(head.dtype), head).to(self.dtype)

    def _through_head(self, gradient: Tensor) -> Tensor:
        head = self._head
        found: Tensor = gradient.to(head.dtype) @ head
        return found.to(self.dtype)

    def _lowest(self, layout: Layout) -> int | None:
        """The first layer that somebody in this pass learns in."""
        return next((i for i, each in enumerate(self._layers) if each.learns(layout)), None)


class _KeptLayer(NamedTuple):
    """What a layer's way back needs."""

    layout: Layout
    turn: Turn
    linear: dict[str, Kept]
    norms: list[Any]
    core: KeptAttention | None
    gate: KeptGate


class _Layer:
    """One decoder layer."""

    def __init__(
        self, module: Any, linears: Mapping[str, PackedLinear], dtype: torch.dtype
    ) -> None:
        attention = module.self_attn
        self._linears = {name.rpartition(".")[2]: each for name, each in linears.items()}
        self._norms = [Norm(getattr(module, name), dtype) for name in NORMS]
        self._width = int(attention.head_dim)
        self._core = Core(float(attention.scaling), _window(attention))
        # Qwen 3 normalises each head.
        self._heads = [
            Norm(getattr(attention, name), dtype) if hasattr(attention, name) else None
            for name in ("q_norm", "k_norm")
        ]

    def learns(self, layout: Layout) -> bool:
        return any(each.learns(layout) for each in self._linears.values())

    def forward(
        self, stream: Tensor, turn: Turn, layout: Layout, picked: Picked | None, learns: bool
    ) -> tuple[Tensor, _KeptLayer]:
        """The stream behind the layer, of the picked rows alone where some are picked."""
        linears, linear, norms = self._linears, dict[str, Kept](), list[Any]()

        def product(name: str, rows: Tensor, here: Layout, cast: Tensor) -> Tensor:
            out, linear[name] = linears[name].run(rows, here, cast)
            return out

        rows, norm = self._norms[0].forward(stream)
        norms.append(norm)
        cast = linears["q_proj"].frozen.cast(rows)
        heads = []
        for name, own in zip(ATTENTION, (*self._heads, None), strict=False):
            found = product(name, rows, layout, cast)
            found = found.view(len(found), -1, self._width)
            if own is not None:
                found, norm = own.forward(found)
                norms.append(norm)
            heads.append(found if name == "v_proj" else turn.forward(found))
        attended, core = self._core.forward(heads[0], heads[1], heads[2], learns)
        if picked is not None:
            stream, attended = stream[picked.rows], attended[picked.rows]
            layout = picked.layout
        cast = linears["o_proj"].frozen.cast(attended)
        stream = product("o_proj", attended, layout, cast).add_(stream)
        rows, norm = self._norms[1].forward(stream)
        norms.append(norm)
        cast = linears["gate_proj"].frozen.cast(rows)
        both = [product(name, rows, layout, cast) for name in GATED[:2]]
        let, gate = gated(*both)
        down = product("down_proj", let, layout, linears["down_proj"].frozen.cast(let))
        return down.add_(stream), _KeptLayer(layout, turn, linear, norms, core, gate)

    def backward(
        self, kept: _KeptLayer, gradient: Tensor, picked: Picked | None, below: bool
    ) -> Tensor:
        """The gradient of the stream before the layer; of no use unless something is below."""
        linears, linear, norms = self._linears, kept.linear, kept.norms
        attends = below or any(linears[name].learns(kept.layout) for name in ATTENTION)

        def back(name: str, flowing: Tensor) -> Tensor:
            found = linears[name].back(linear.pop(name), flowing, needed=True)
            assert found is not None
            return found

        for_gate, for_up = ungated(kept.gate, back("down_proj", gradient))
        rows = back("gate_proj", for_gate).add_(back("up_proj", for_up))
        stream = self._norms[1].backward(norms.pop(), rows).add_(gradient)
        if not attends:
            return stream
        attended = back("o_proj", stream)
        if picked is not None:
            stream, attended = picked.spread(stream), picked.spread(attended)
        assert kept.core is not None
        heads = self._core.backward(kept.core, attended)
        found: Tensor | None = None
        for name, own, each in zip(
            reversed(ATTENTION[:3]), (None, *reversed(self._heads)), reversed(heads), strict=True
        ):
            flowing = each if name == "v_proj" else kept.turn.backward(each)
            if own is not None:
                flowing = own.backward(norms.pop(), flowing)
            one = linears[name].back(linear.pop(name), flowing.flatten(1), needed=below)
            found = one if found is None or one is None else found.add_(one)
        return (
            stream if found is None else self._norms[0].backward(norms.pop(), found).add_(stream)
        )


def _cross_entropy(logits: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """Losses, and the gradient of their sum times the factors; `logits` are used up."""
    targets = asked.targets[:, None]
    whole = torch.logsumexp(logits, dim=-1, keepdim=True)
    losses = (whole - logits.gather(1, targets))[:, 0]
    share = logits.sub_(whole).exp_()
    share.scatter_add_(1, targets, torch.full_like(whole, -1.0))
    return losses, share.mul_(asked.factors[:, None])


def _names() -> list[str]:
    return [f"self_attn.{name}" for name in ATTENTION] + [f"mlp.{name}" for name in GATED]


def _window(attention: Any) -> int | None:
    """Tokens that a token sees, where that is not all before it; as the layer says it."""
    own = getattr(attention, "sliding_window", None)
    if not hasattr(attention, "sliding_window"):
        own = getattr(attention.config, "sliding_window", None)
    return None if own is None else int(own)
