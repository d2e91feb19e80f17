"""VeRA: one random A and B for all layers, and two trained vectors for each layer.

Kopiczko et al. 2023, arXiv:2310.11454. It has no alpha: whatever a sweep says there is not used.
"""

import torch
from peft import PeftConfig, VeraConfig
from peft.tuners.vera.layer import VeraLayer

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import NAME, PROOFS, Proof, require
from harness.errors import UserError
from harness.trial import Purpose, derive_seed


class Vera(Adapter):
    """Shared random matrices; the trained vectors are `vera_lambda_b` and `vera_lambda_d`."""

    def peft_config(self) -> PeftConfig:
        """The random matrices are drawn from the trial's seed and saved with the adapter.

        Raises:
            UserError: single modules are to have other ranks.
        """
        keywords = self.keywords()
        if "rank_pattern" in keywords:
            raise UserError("rank_pattern: VeRA's layers share one rank")
        if keywords["bias"] == "lora_only":
            keywords["bias"] = "vera_only"
        return VeraConfig(
            r=self.config.rank,
            vera_dropout=self.config.dropout,
            projection_prng_key=derive_seed(self.config.seed, Purpose.INITIALISATION) % 2**31,
            **keywords,
        )

    def inject_without_init(self) -> None:
        """The shared matrices are drawn all the same, where there are random numbers."""
        with torch.device("cpu"):
            super().inject_without_init()


class VectorsOnly(Proof):
    """All layers share one random A and B, and only vectors are trained; modules to save apart."""

    def check_before(self) -> None:
        """Looks at what is shared and what is trained."""
        layers = list(self.subject.adapter.layers().values())
        ours = [layer for layer in layers if isinstance(layer, VeraLayer)]
        require(len(ours) == len(layers) > 0, "a layer is not VeRA's")
        pairs = [(layer.vera_A, layer.vera_B) for layer in ours]
        shared = {(a[NAME].data_ptr(), b[NAME].data_ptr()) for a, b in pairs if a and b}
        require(len(shared) == 1, f"{len(shared)} pairs of random matrices")
        named = self.subject.adapter.base.named_parameters()
        trained = {
            name: weight
            for name, weight in named
            if weight.requires_grad and ".modules_to_save." not in name
        }
        wrong = [n for n, w in trained.items() if ".vera_lambda_" not in n or w.ndim != 1]
        require(bool(trained) and not wrong, f"{len(wrong)} weights besides vectors are trained")
        self._first = {name: weight.detach().clone() for name, weight in trained.items()}

    def check_after(self) -> None:
        """Compares the vectors with the first ones."""
        now = dict(self.subject.adapter.base.named_parameters())
        moved = any(not torch.equal(now[name], first) for name, first in self._first.items())
        require(moved, "no vector has moved")


ADAPTERS.add("vera", Vera)
PROOFS.add("vectors_only", VectorsOnly)
