"""A Llama-like model gone through by hand: losses and gradients without autograd's bookkeeping.

On a small model most of a step is not matrix products but the hundreds of small operations around
them, and what autograd does for each. Here each piece has its way back, nothing is computed whose
gradient nobody needs, and the last layer goes on with the rows that predict an answer alone. The
stream between the layers is in float32 even where products are in half precision. Knows token
ids and layouts, nothing of trials.

The pieces of a Llama-like decoder layer, each with its way back written by hand.

Rows of all sequences lie end to end, shape (rows, width), in float32 or better whatever the
precision of the products. Knows no layer, slot or model.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from harness.training.packed.layers import Kept, PackedLinear
from harness.training.packed.layout import Layout, SelectedRows, packed_attention, use_layout
from harness.training.packed.prefix_cache import Below

_NO_MODULE: Final = nn.Identity()


class KeptNorm(NamedTuple):
    """What the way back needs: rows of unit size, and the factor that made them so."""

    unit: Tensor
    factor: Tensor


class Norm:
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).

    Args:
        module: has `weight` and `variance_epsilon`.
        dtype: of the rows.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Takes a view of the weight, or a copy in the rows' precision."""
        self._weight = module.get_parameter("weight").detach().to(dtype)
        self._epsilon = float(module.variance_epsilon)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, KeptNorm]:
        """`x` is (..., width)."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        factor = size.square_().mul_(1 / x.shape[-1]).add_(self._epsilon).rsqrt_()
        unit = x * factor
        return unit * self._weight, KeptNorm(unit, factor)

    def backward(self, kept: KeptNorm, gradient: Tensor) -> Tensor:
        """The gradient of `x`."""
        unit, factor = kept
        found = gradient * self._weight
        along = (found * unit).mean(dim=-1, keepdim=True)
        return found.addcmul_(unit, along, value=-1).mul_(factor)


class Turn:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34), halves as in Transformers.

    Args:
        cosines: shape (rows, width of a head); both halves alike.
        sines: the same.
    """

    def __init__(self, cosines: Tensor, sines: Tensor) -> None:
        half = cosines.shape[-1] // 2
        self._cosines, self._sines = cosines[:, None, :half], sines[:, None, :half]

    def forward(self, x: Tensor) -> Tensor:
        """`x` is (rows, heads, width)."""
        return self._turned(x, 1)

    def backward(self, gradient: Tensor) -> Tensor:
        """Turns back."""
        return self._turned(gradient, -1)

    def _turned(self, x: Tensor, sign: int) -> Tensor:
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        out = torch.empty_like(x)
        one = torch.mul(first, self._cosines, out=out[..., :half])
        one.addcmul_(second, self._sines, value=-sign)
        other = torch.mul(second, self._cosines, out=out[..., half:])
        other.addcmul_(first, self._sines, value=sign)
        return out


class KeptAttention(NamedTuple):
    """The graph of one core: what went in, and what came out."""

    given: tuple[Tensor, Tensor, Tensor]
    out: Tensor


class Core:
    """Softmax attention within each sequence of the layout in progress.

    The way back is autograd's: torch's own kernel computes it best.

    Args:
        scaling: of the products.
        window: tokens that a token sees, itself included; None for all before it.
    """

    def __init__(self, scaling: float, window: int | None = None) -> None:
        self._scaling, self._window = scaling, window

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, learns: bool
    ) -> tuple[Tensor, KeptAttention | None]:
        """All are (rows, heads, width), key and value of fewer heads perhaps.

        Returns:
            Shape (rows, heads * width), and what the way back needs where something is learnt.
        """
        if not learns:
            return self._attended(query, key, value), None
        with torch.enable_grad():
            given = tuple(each.detach().requires_grad_() for each in (query, key, value))
            out = self._attended(*given)
        return out.detach(), KeptAttention(given, out)  # type: ignore[arg-type]

    def backward(self, kept: KeptAttention, gradient: Tensor) -> tuple[Tensor, ...]:
        """Gradients of query, key and value."""
        return torch.autograd.grad(kept.out, kept.given, gradient)

    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query, key, value = (each.transpose(0, 1)[None] for each in (query, key, value))
        out, _ = packed_attention(
            _NO_MODULE,
            query,
            key,
            value,
            None,
            scaling=self._scaling,
            sliding_window=self._window,
        )
        return out[0].flatten(1)


class KeptGate(NamedTuple):
    """Sigmoid and SiLU of the gate, and what it lets through."""

    share: Tensor
    gate: Tensor
    up: Tensor


def gated(gate: Tensor, up: Tensor) -> tuple[Tensor, KeptGate]:
    """`silu(gate) * up` (Shazeer 2020, arXiv:2002.05202, eq. 6), shape (rows, width)."""
    share = torch.sigmoid(gate)
    silu = gate.mul_(share)
    return silu * up, KeptGate(share, silu, up)


def ungated(kept: KeptGate, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up; silu' is `share + silu (1 - share)`."""
    share, silu, up = kept
    for_up = gradient * silu
    slope = torch.addcmul(share, silu, share, value=-1).add_(silu)
    return slope.mul_(up).mul_(gradient), for_up


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
    picked: SelectedRows
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
        with use_layout(layout):
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
        with use_layout(layout):
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
        self, stream: Tensor, turn: Turn, layout: Layout, picked: SelectedRows | None, learns: bool
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
        self, kept: _KeptLayer, gradient: Tensor, picked: SelectedRows | None, below: bool
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
