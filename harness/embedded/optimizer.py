"""Muon on the block matrices, AdamW on embeddings and norms, under one learning-rate factor.

Muon: K. Jordan et al., 2024, "Muon: An optimizer for hidden layers in neural networks".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.embedded.crew import Crew

_MOMENTUM = 0.95
_DECAY = 0.05


def orthogonal(gradients: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices to (count, rows, columns), rows <= columns.

    Newton-Schulz with the quintic of the Muon paper. In float32: bfloat16 is slower on a CPU
    without matrix units.
    """
    iterate: Tensor = gradients / (gradients.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = iterate @ iterate.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        iterate = torch.baddbmm(iterate, polynomial, iterate, beta=3.4445)
    return iterate


class Optimizer:
    """Both optimisers; `step(factor)` scales both learning rates by the schedule."""

    def __init__(
        self,
        matrices: Sequence[Sequence[nn.Parameter]],
        others: Sequence[nn.Parameter],
        matrix_rate: float,
        other_rate: float,
        crew: Crew,
    ) -> None:
        """`matrices` come in groups of one shape, up to transposition."""
        self._crew = crew
        self._others = list(others)
        self._groups = [list(group) for group in matrices]
        self._momenta = [[torch.zeros_like(matrix) for matrix in group] for group in self._groups]
        self._matrix_rate, self._other_rate = matrix_rate, other_rate
        self._adamw = torch.optim.AdamW(
            [
                {"params": [one for one in others if one.dim() > 1], "weight_decay": 0.01},
                {"params": [one for one in others if one.dim() < 2], "weight_decay": 0.0},
            ],
            lr=other_rate,
            betas=(0.9, 0.97),
        )

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Adds up the gradients of the crew, updates all weights and forgets the gradients."""
        self._crew.add_up([one for group in (*self._groups, self._others) for one in group])
        for group, momenta in zip(self._groups, self._momenta, strict=True):
            self._muon(group, momenta, self._matrix_rate * factor)
        for options in self._adamw.param_groups:
            options["lr"] = self._other_rate * factor
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        for group in self._groups:
            for matrix in group:
                matrix.grad = None

    def _muon(self, group: list[nn.Parameter], momenta: list[Tensor], rate: float) -> None:
        updates: list[Tensor] = []
        for matrix, momentum in zip(group, momenta, strict=True):
            gradient = matrix.grad if matrix.grad is not None else torch.zeros_like(matrix)
            momentum.lerp_(gradient, 1 - _MOMENTUM)
            update = gradient.lerp(momentum, _MOMENTUM)
            updates.append(update if update.shape[0] <= update.shape[1] else update.mT)
        for matrix, update in zip(
            group, self._crew.share(torch.stack(updates), orthogonal), strict=True
        ):
            rows, columns = matrix.shape
            matrix.mul_(1 - rate * _DECAY)
            matrix.add_(
                update if rows <= columns else update.mT,
                alpha=-rate * max(1.0, rows / columns) ** 0.5,
            )
