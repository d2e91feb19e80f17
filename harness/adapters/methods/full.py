"""Full fine-tuning: no adapter, every weight of the base is trained.

The base itself stays as it is: while this is on, its parameters hold copies.
"""

from pathlib import Path
from typing import Final

import torch
from transformers import PreTrainedModel

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import PROOFS, Proof, require
from harness.errors import UserError

#: Bytes a weight takes beside the frozen base: copy, gradient and AdamW's two moments in float32.
BYTES: Final = 16


class Full(Adapter):
    """All weights in the place of an adapter."""

    def inject(self) -> None:
        """Copies every weight.

        Raises:
            UserError: the base is not in float32, or quantised.
        """
        told = impossible(self.base)
        if told:
            raise UserError(f"full fine-tuning: {told}")
        for weight in self.base.parameters():
            weight.data = weight.data.clone()
            weight.requires_grad_(True)

    def inject_without_init(self) -> None:
        """Nothing is copied."""
        self.base.requires_grad_(True)

    def save(self, folder: Path) -> None:
        """Writes the whole model."""
        self.base.save_pretrained(str(folder))


class AllTrained(Proof):
    """Every weight of the base is trained, and has moved at the end."""

    def check_before(self) -> None:
        """Looks for a weight that the optimiser does not hold."""
        held = {id(p) for group in self.subject.groups for p in group["params"]}
        named = self.subject.adapter.base.named_parameters()
        gone = [name for name, weight in named if id(weight) not in held]
        require(not gone, f"{len(gone)} weights are not trained")

    def check_after(self) -> None:
        """Compares the layers' weights with those of the base."""
        named = dict(self.subject.adapter.base.named_parameters())
        still = [
            name
            for name, old in self.subject.weights.items()
            if torch.equal(named[f"{name}.weight"], old)
        ]
        require(not still, f"{len(still)} weights have not moved")


def impossible(model: PreTrainedModel, free: int | None = None) -> str:
    """Why all weights of a base cannot be trained; empty where they can.

    Args:
        model: the base.
        free: bytes of memory that are free for each worker; None does not ask.
    """
    kinds = {weight.dtype for weight in model.parameters()}
    if getattr(model.config, "quantization_config", None) is not None:
        return "the weights of a quantised base cannot be trained"
    if kinds != {torch.float32}:
        return "its weights have to be float32 (model.dtype)"
    needed = BYTES * sum(weight.numel() for weight in model.parameters())
    if free is not None and needed > free:
        gigabytes = (needed / 2**30, free / 2**30)
        return "it needs {:.1f} GiB more a worker, {:.1f} are free".format(*gigabytes)
    return ""


ADAPTERS.add("full", Full)
PROOFS.add("all_trained", AllTrained)
