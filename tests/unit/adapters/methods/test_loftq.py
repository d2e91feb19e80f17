import inspect
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils import loftq_utils

from harness.adapters.methods.loftq import loftq, nf4

pytestmark = pytest.mark.filterwarnings("ignore")  # of bitsandbytes and what it stands on


def weight(rows: int = 96, columns: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.05 * torch.randn(rows, columns, generator=generator)


def test_there_are_sixteen_values_in_each_block_of_64() -> None:
    rounded = nf4(weight())
    assert max(len(block.unique()) for block in rounded.flatten().reshape(-1, 64)) <= 16
    assert 0 < float((rounded - weight()).norm()) < 0.12 * float(weight().norm())


def test_what_is_lost_falls_with_each_round() -> None:
    # At rank 16 the fifth round would lose more than the fourth.
    for rank, rounds in ((2, 5), (8, 5), (16, 4)):
        start = loftq(weight(), rank)
        assert len(start.errors) == 1 + rounds
        assert all(later < earlier for earlier, later in pairwise(start.errors))
        approximation = start.weight + start.b @ start.a
        assert float((approximation - weight()).norm()) == pytest.approx(
            start.errors[-1], rel=1e-4
        )
        assert (start.a.shape, start.b.shape) == ((rank, 64), (96, rank))


def peft_on_the_processor() -> Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """PEFT's own start, its compute device patched: it knows CUDA and XPU only."""
    source = inspect.getsource(loftq_utils.loftq_init)
    patched = source.replace('"xpu" if is_xpu_available() else "cuda"', '"cpu"')
    assert patched != source
    names: dict[str, Any] = dict(vars(loftq_utils))
    exec(compile(patched, str(Path(loftq_utils.__file__)), "exec"), names)
    loftq_init: Callable[..., tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = names[
        "loftq_init"
    ]
    return loftq_init


@pytest.mark.parametrize("rounds", [1, 3, 5])
def test_it_is_what_peft_does_on_a_gpu(rounds: int) -> None:
    theirs, a, b = peft_on_the_processor()(weight(), 4, 8, num_iter=rounds)
    ours = loftq(weight(), 8, rounds)
    torch.testing.assert_close(ours.weight, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.b @ ours.a, b @ a, rtol=1e-4, atol=1e-5)
