"""Where a training step's milliseconds go, by kind of operation, from a run of torch's profiler.

An operation belongs to a norm if it runs within a norm layer, or on the way back from one; to the
optimiser if it runs within its step; else its own name says what it is.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

#: Kinds of operations, and the rest: Python, autograd's own work, the loss, embeddings, indices.
KINDS: Final = ("products", "attention", "elementwise", "normalisation", "optimiser", "rest")
_NORM: Final = "benchmarks::normalisation"
_NODE: Final = "autograd::engine::evaluate_function"
_NAMES: Final = {
    "products": {"mm", "addmm", "addmm_", "bmm", "baddbmm", "baddbmm_", "linear", "matmul"},
    "elementwise": {
        *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "neg", "neg_", "pow"),
        *("silu", "silu_backward", "gelu", "gelu_backward", "sigmoid", "tanh", "rsqrt", "sqrt"),
        *("sum", "mean", "cat", "copy_", "clone", "_to_copy", "to", "contiguous", "fill_"),
        *("zero_", "addcmul_", "addcmul", "exp", "cos", "sin", "where", "masked_fill", "lt"),
        *("bernoulli_", "ge", "repeat_interleave", "expand", "reciprocal", "add_relu"),
    },
}


def kind_of(name: str, ancestors: Iterable[str], within_norm: bool) -> str:
    """The kind of an operation.

    Args:
        name: as the profiler has it, such as `aten::mm`.
        ancestors: names of what it runs within.
        within_norm: whether it belongs to a norm layer, there or back.
    """
    if any(one.startswith("Optimizer.") for one in (name, *ancestors)):
        return "optimiser"
    short = name.removeprefix("aten::")
    # Also the gradient's norm and its bound.
    if any(each in short for each in ("_foreach_", "_fused_adam", "linalg_vector_norm")):
        return "optimiser"
    if not name.startswith("aten::"):
        return "rest"
    if short in _NAMES["products"]:
        return "products"
    if within_norm:
        return "normalisation"
    if "scaled_dot_product" in short or "_flash_attention" in short:
        return "attention"
    return next((kind for kind, names in _NAMES.items() if short in names), "rest")


@contextmanager
def _norms_named(model: nn.Module) -> Iterator[None]:
    """Marks what norm layers do."""
    open_: list[Any] = []

    def enter(*_: Any) -> None:
        open_.append(record_function(_NORM))
        open_[-1].__enter__()

    def leave(*_: Any) -> None:
        open_.pop().__exit__(None, None, None)

    handles = []
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def table(model: nn.Module, step: Callable[[], None], steps: int) -> dict[str, float]:
    """Milliseconds a step by kind; profiling itself makes a step longer.

    Args:
        model: the base, whose norms are looked for.
        step: one step; has run before.
        steps: how many to average over.
    """
    with (
        _norms_named(model),
        profile(activities=[ProfilerActivity.CPU]) as profiler,
        record_function("benchmarks::steps"),
    ):
        for _ in range(steps):
            step()
    found = dict.fromkeys(KINDS, 0.0)
    events = [one for one in profiler.events() or () if one.device_type.name == "CPU"]
    back = {
        event.sequence_nr
        for event in events
        if event.sequence_nr >= 0 and _NORM in _ancestors(event)
    }
    whole = 0.0
    for event in events:
        if event.name == "benchmarks::steps":
            whole = event.cpu_time_total
            continue
        ancestors = _ancestors(event)
        norm = _NORM in ancestors or _comes_back(event, back)
        found[kind_of(event.name, ancestors, norm)] += event.self_cpu_time_total
    found["rest"] += whole - sum(found.values())  # what no event accounts for
    return {kind: found[kind] / 1000 / steps for kind in KINDS}


def _ancestors(event: Any) -> list[str]:
    names = []
    parent = event.cpu_parent
    while parent is not None:
        names.append(parent.name)
        parent = parent.cpu_parent
    return names


def _comes_back(event: Any, numbers: set[int]) -> bool:
    """Whether the event runs within a node of autograd that one of these numbers made."""
    while event is not None:
        if event.name.startswith(_NODE):
            return event.sequence_nr in numbers
        event = event.cpu_parent
    return False
