"""The matrix products of a training step: which there are, what they cost, how fast they could be.

They are not derived from a formula but seen: a step is run once with torch telling every product
that it makes, with its shape, precision and what it is for. The same list, back to back on
contiguous numbers, is the ceiling that a step is held against.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: What products are for.
PURPOSES: Final = ("base forward", "base backward", "adapters", "head", "attention")
_MATRICES: Final = {"aten::mm": 0, "aten::addmm": 1, "aten::addmm_": 1}
_BATCHED: Final = {"aten::bmm": 0, "aten::baddbmm": 1, "aten::baddbmm_": 1}


@dataclass(frozen=True, order=True)
class Product:
    """`batch` products of (rows, inner) and (inner, columns).

    Attributes:
        purpose: one of `PURPOSES`.
        batch: how many; 1 for a plain one.
        rows: of the left matrix.
        inner: what both share.
        columns: of the right matrix.
        dtype: as torch names it, without `torch.`.
    """

    purpose: str
    batch: int
    rows: int
    inner: int
    columns: int
    dtype: str

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.inner * self.columns


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes all products that are made meanwhile.

    Args:
        model: the base; its own weights tell what a product is for.

    Attributes:
        products: in the order in which they were made.
    """

    def __init__(self, model: nn.Module) -> None:
        """Notes where the base's weights lie, adapters left out."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[Product] = []
        head = model.get_output_embeddings()  # type: ignore[operator]
        self._head = {_place(weight) for weight in head.parameters()}
        self._base = {
            _place(weight) for name, weight in model.named_parameters() if "lora_" not in name
        }

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the operation and notes it if it is a product."""
        del types
        name = func._schema.name
        if name in _MATRICES:
            left, right = args[_MATRICES[name] :][:2]
            self._note(self._purpose(left, right), 1, left, right)
        elif name in _BATCHED:
            left, right = args[_BATCHED[name] :][:2]
            self._note("attention", left.shape[0], left, right)
        elif "scaled_dot_product" in name:
            self._attention(name, args)
        return func(*args, **(kwargs or {}))

    def _note(self, purpose: str, batch: int, left: Tensor, right: Tensor) -> None:
        rows, inner, columns = int(left.shape[-2]), int(left.shape[-1]), int(right.shape[-1])
        dtype = str(left.dtype).removeprefix("torch.")
        self.products.append(Product(purpose, int(batch), rows, inner, columns, dtype))

    def _purpose(self, left: Tensor, right: Tensor) -> str:
        """By the weights that take part; those of the base lie transposed on the way there."""
        for one in (left, right):
            if _place(one) in self._head:
                return "head"
            if _place(one) in self._base:
                return "base backward" if one.is_contiguous() else "base forward"
        return "adapters"

    def _attention(self, name: str, args: tuple[Any, ...]) -> None:
        """Two products there and five on the way back, as torch counts them."""
        backward = "backward" in name
        query, key, value = args[1:4] if backward else args[:3]
        batch = int(query.shape[0] * query.shape[1])
        asking, width = int(query.shape[-2]), int(query.shape[-1])
        asked, out = int(key.shape[-2]), int(value.shape[-1])
        dtype = str(query.dtype).removeprefix("torch.")
        shapes = [(asking, width, asked), (asking, asked, out)]
        if backward:
            shapes = [
                (asking, width, asked),  # the scores once more
                (asked, asking, out),  # gradient of the values
                (asking, out, asked),  # ... of the scores
                (asking, asked, width),  # ... of the queries
                (asked, asking, width),  # ... of the keys
            ]
        self.products += [Product("attention", batch, *shape, dtype) for shape in shapes]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def recorded(model: nn.Module, step: Callable[[], None]) -> list[Product]:
    """The products of one call.

    Args:
        model: the base.
        step: makes them.
    """
    recorder = Recorder(model)
    with recorder:
        step()
    return recorder.products


def operations(products: Iterable[Product]) -> dict[str, int]:
    """Floating-point operations by purpose."""
    found: Counter[str] = Counter({purpose: 0 for purpose in PURPOSES})
    for product in products:
        found[product.purpose] += product.operations
    return dict(found)


class Ceiling:
    """A list of products as plain `torch.mm` and `torch.bmm` into memory that is there already.

    Products of one shape share their numbers, so these are in the cache wherever that is large
    enough: no training step could do as well, whose weights all differ.

    Args:
        products: what to run, in this order.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        """Makes the numbers."""
        self._numbers: dict[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] = {}
        self._run = [self._made(product) for product in products]

    def _made(self, product: Product) -> tuple[Tensor, Tensor, Tensor]:
        rows, inner, columns = product.rows, product.inner, product.columns
        key = (product.batch, rows, inner, columns, product.dtype)
        if key not in self._numbers:
            lead = () if product.batch == 1 else (product.batch,)
            dtype = getattr(torch, product.dtype)
            left = torch.randn(*lead, rows, inner).to(dtype)
            right = torch.randn(*lead, inner, columns).to(dtype)
            self._numbers[key] = left, right, torch.empty(*lead, rows, columns, dtype=dtype)
        return self._numbers[key]

    @torch.no_grad()
    def __call__(self) -> None:
        """Runs the whole list once."""
        for left, right, out in self._run:
            if left.ndim == 2:
                torch.mm(left, right, out=out)
            else:
                torch.bmm(left, right, out=out)
