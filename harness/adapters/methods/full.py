"""Full fine-tuning: no adapter, every weight of the base model is trained.

The base itself does not change: while this is attached, its parameters hold copies.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import PROOFS, Proof, require
from harness.errors import UserError
from harness.models.memory import MEMORY


class FullFineTuning(Adapter):
    """All weights of the base in place of an adapter."""

    def inject(self) -> None:
        """Copies every weight.

        Raises:
            UserError: the base is not in float32, or is quantised.
        """
        reason = why_untrainable(self.base)
        if reason:
            raise UserError(f"full fine-tuning: {reason}")
        for weight in self.base.parameters():
            weight.data = weight.data.clone()
            weight.requires_grad_(True)

    def inject_without_init(self) -> None:
        """Marks every weight as trainable without copying it."""
        self.base.requires_grad_(True)

    def save(self, folder: Path) -> None:
        """Writes the whole model."""
        self.base.save_pretrained(str(folder))


class AllWeightsTrained(Proof):
    """Every weight of the base is trained, and has changed at the end."""

    def check_before(self) -> None:
        """Looks for a weight that the optimizer does not update."""
        optimized = {id(p) for group in self.context.groups for p in group["params"]}
        named = self.context.adapter.base.named_parameters()
        untrained = [name for name, weight in named if id(weight) not in optimized]
        require(not untrained, f"{len(untrained)} weights are not trained")

    def check_after(self) -> None:
        """Compares the layers' weights with those of the base model."""
        named = dict(self.context.adapter.base.named_parameters())
        before = self.context.weights
        unchanged = [name for name in before if torch.equal(named[f"{name}.weight"], before[name])]
        require(not unchanged, f"{len(unchanged)} weights have not changed")


def why_untrainable(model: PreTrainedModel, free: int | None = None) -> str:
    """Why the weights of a base model cannot all be trained; an empty text where they can.

    Args:
        model: the base model.
        free: bytes of free memory for each worker; None skips this check.
    """
    dtypes = {weight.dtype for weight in model.parameters()}
    if getattr(model.config, "quantization_config", None) is not None:
        return "the weights of a quantised base model cannot be trained"
    if dtypes != {torch.float32}:
        return "its weights have to be float32 (model.dtype)"
    needed = MEMORY.bytes_per_full_weight * sum(weight.numel() for weight in model.parameters())
    if free is not None and needed > free:
        gigabytes = (needed / 2**30, free / 2**30)
        return "it needs {:.1f} GiB more a worker, {:.1f} are free".format(*gigabytes)
    return ""


ADAPTERS.add("full", FullFineTuning)
PROOFS.add("all_trained", AllWeightsTrained)
