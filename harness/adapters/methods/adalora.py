"""AdaLoRA: the rank of each layer falls during training, down to a budget for all of them.

Zhang et al. 2023, arXiv:2303.10512. PEFT's `RankAllocator` does the work, but only if it is
called after every step while the gradients are still there, and is told the true number of steps.
"""

from typing import Final

import torch
from peft import AdaLoraConfig, PeftConfig
from peft.tuners.adalora import AdaLoraModel
from peft.tuners.adalora.layer import AdaLoraLayer

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import NAME, PROOFS, Proof, ProofContext, require
from harness.errors import UserError

#: Shares of the steps before ranks fall and after they have fallen: RTE's in the paper's table 8
#: (600 and 1,800 of some 3,900 steps), its smallest task.
_BEFORE: Final = 0.15
_AFTER: Final = 0.45
#: Steps that a schedule needs: one to see importance, one to act on it.
_LEAST: Final = 3


class AdaLora(Adapter):
    """Singular triplets, pruned by importance; the rank asked for is the final average."""

    def peft_config(self) -> PeftConfig:
        """The budget falls from 1.5 times the rank to the rank.

        Raises:
            UserError: too few steps for ranks to fall, or ranks are given to single modules.
        """
        steps, keywords = self.given.steps, self.keywords()
        if "rank_pattern" in keywords:
            raise UserError("rank_pattern: AdaLoRA finds each layer's rank itself")
        if steps < _LEAST:
            raise UserError(f"adalora needs {_LEAST} steps at least to move ranks, not {steps}")
        return AdaLoraConfig(
            init_r=self.variant.rank_at_start(self.config.rank),
            target_r=self.config.rank,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            total_step=steps,
            tinit=int(_BEFORE * steps),
            tfinal=int(_AFTER * steps),
            **keywords,
        )

    def regularization_loss(self) -> torch.Tensor:
        """How far A and B are from orthogonal (eq. 4), times its weight; PEFT's mean over all."""
        terms = [
            torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
            for gram in map(_gram, *zip(*self._matrices(), strict=True))
        ]
        config = self.model.peft_config["default"]
        assert isinstance(config, AdaLoraConfig)
        return config.orth_reg_weight * torch.stack(terms).mean()

    def after_step(self, step: int) -> None:
        """Moves the budget; the gradients of this step are still there."""
        inner = self.model.base_model
        assert isinstance(inner, AdaLoraModel)
        inner.update_and_allocate(step)  # type: ignore[no-untyped-call]

    def _matrices(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [
            (name, parameter)
            for name, parameter in self.base.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]


def _gram(name: str, matrix: torch.Tensor) -> torch.Tensor:
    return matrix @ matrix.T if "lora_A" in name else matrix.T @ matrix


class RanksPruned(Proof):
    """The ranks at the end differ from the first, and their sum is the budget."""

    def check_before(self) -> None:
        """Counts the ranks."""
        self._first = _ranks(self.subject)
        adapter = self.subject.adapter
        wanted = adapter.variant.rank_at_start(adapter.config.rank)
        require(set(self._first.values()) == {wanted}, f"layers do not all start at rank {wanted}")

    def check_after(self) -> None:
        """Counts them again."""
        last = _ranks(self.subject)
        budget = self.subject.adapter.config.rank * len(last)
        require(last != self._first, "no rank has changed")
        total = sum(last.values())
        require(total == budget, f"{total} ranks are left, the budget is {budget}")


def _ranks(subject: ProofContext) -> dict[str, int]:
    """Singular values that are not switched off, by layer."""
    config = subject.adapter.model.peft_config[NAME]
    pattern = getattr(config, "rank_pattern", None) or {}
    kept = {name.partition(".lora_E")[0]: sum(map(bool, on)) for name, on in pattern.items()}
    return {
        name: kept.get(name, len(layer.lora_E[NAME]))
        for name, layer in subject.adapter.layers().items()
        if isinstance(layer, AdaLoraLayer)
    }


ADAPTERS.add("adalora", AdaLora)
PROOFS.add("ranks_pruned", RanksPruned)
