"""The processes of one build: each takes its rows of a step, all hold the same weights.

Two processes of one thread each train nearly twice as fast as one, where one process of two
threads gains a third: the matrices of this model are small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn


@dataclass(frozen=True)
class Crew:
    """One process's place among `size`."""

    rank: int = 0
    size: int = 1

    def mine(self, rows: Tensor) -> Tensor:
        """This process's rows of a step; their number must be a multiple of the crew's size."""
        if len(rows) % self.size:
            raise ValueError(f"{len(rows)} rows cannot be shared among {self.size} processes")
        return rows.view(self.size, -1, *rows.shape[1:])[self.rank]

    def add_up(self, weights: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its sum over the crew."""
        if self.size == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.view(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, stack: Tensor, action: Callable[[Tensor], Tensor]) -> Tensor:
        """`action` on a stack of matrices, each process doing an equal part of them."""
        if self.size == 1:
            return action(stack)
        part = action(self.mine(stack)).contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        distributed.all_gather(parts, part)
        return torch.cat(parts)


def together(size: int, meeting: Path, work: Callable[[Crew], None]) -> None:
    """Runs `work` in `size` processes of one thread each; ends when all have ended.

    Args:
        size: processes; 1 runs in this one.
        meeting: a file that does not exist yet, on a disk all can see.
        work: what each does; must be picklable.
    """
    if size == 1:
        torch.set_num_threads(1)
        work(Crew())
        return
    spawn(_member, (size, str(meeting), work), nprocs=size)  # type: ignore[no-untyped-call]


def _member(rank: int, size: int, meeting: str, work: Callable[[Crew], None]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=size
    )
    try:
        work(Crew(rank, size))
    finally:
        distributed.destroy_process_group()
