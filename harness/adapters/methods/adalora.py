"""AdaLoRA: prunes each layer's rank during training, down to a budget over all layers.

Zhang et al. 2023, arXiv:2303.10512. PEFT's `RankAllocator` needs to be called after every step
while the gradients still exist, and to know the true number of steps.
"""

from collections.abc import Iterator
from typing import Final

import torch
from peft import AdaLoraConfig, PeftConfig
from peft.tuners.adalora import AdaLoraModel
from peft.tuners.adalora.layer import AdaLoraLayer

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import NAME, PROOFS, Proof, ProofContext, require
from harness.errors import UserError

#: Shares of the steps before pruning starts (`tinit`) and after it has ended (`tfinal`): those of
#: RTE, the smallest task of the paper (table 8: 600 and 1,800 of about 3,900 steps).
_WARMUP_SHARE: Final = 0.15
_FINAL_SHARE: Final = 0.45
#: PEFT's schedule needs a step to estimate importance and a later one to prune by it.
_MIN_STEPS: Final = 3


class AdaLora(Adapter):
    """Singular triplets, pruned by importance; the configured rank is the final average."""

    def peft_config(self) -> PeftConfig:
        """The budget falls from 1.5 times the rank to the rank.

        Raises:
            UserError: too few steps to prune, or a `rank_pattern`.
        """
        steps, keywords = self.context.steps, self.keywords()
        if "rank_pattern" in keywords:
            raise UserError("rank_pattern: AdaLoRA finds each layer's rank itself")
        if steps < _MIN_STEPS:
            raise UserError(f"adalora needs at least {_MIN_STEPS} steps to prune, not {steps}")
        return AdaLoraConfig(
            init_r=self.variant.rank_at_start(self.config.rank),
            target_r=self.config.rank,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            total_step=steps,
            tinit=int(_WARMUP_SHARE * steps),
            tfinal=int(_FINAL_SHARE * steps),
            **keywords,
        )

    def regularization_loss(self) -> torch.Tensor:
        """The orthogonality penalty of A and B (eq. 4), averaged over all matrices as in PEFT."""
        terms = [
            torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device))
            for gram in self._grams()
        ]
        config = self.model.peft_config["default"]
        assert isinstance(config, AdaLoraConfig)
        return config.orth_reg_weight * torch.stack(terms).mean()

    def after_step(self, step: int) -> None:
        """Prunes by the importance that the gradients of this step add to."""
        inner = self.model.base_model
        assert isinstance(inner, AdaLoraModel)
        inner.update_and_allocate(step)  # type: ignore[no-untyped-call]

    def _grams(self) -> Iterator[torch.Tensor]:
        for name, matrix in self.base.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                yield matrix @ matrix.T if "lora_A" in name else matrix.T @ matrix


class RanksPruned(Proof):
    """The final ranks differ from the initial ones, and their sum is the budget."""

    def check_before(self) -> None:
        """Counts the ranks."""
        self._initial = _ranks(self.context)
        adapter = self.context.adapter
        rank = adapter.variant.rank_at_start(adapter.config.rank)
        same = set(self._initial.values()) == {rank}
        require(same, f"layers do not all start at rank {rank}")

    def check_after(self) -> None:
        """Counts them again."""
        final_ranks = _ranks(self.context)
        budget = self.context.adapter.config.rank * len(final_ranks)
        require(final_ranks != self._initial, "no rank has changed")
        total = sum(final_ranks.values())
        require(total == budget, f"{total} ranks are left, the budget is {budget}")


def _ranks(context: ProofContext) -> dict[str, int]:
    """Singular values that have not been pruned, by layer."""
    config = context.adapter.model.peft_config[NAME]
    pattern = getattr(config, "rank_pattern", None) or {}
    rank_of = {
        name.partition(".lora_E")[0]: sum(map(bool, active)) for name, active in pattern.items()
    }
    return {
        name: rank_of.get(name, len(layer.lora_E[NAME]))
        for name, layer in context.adapter.layers().items()
        if isinstance(layer, AdaLoraLayer)
    }


ADAPTERS.add("adalora", AdaLora)
PROOFS.add("ranks_pruned", RanksPruned)
