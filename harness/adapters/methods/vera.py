"""VeRA: one frozen random A and B shared by all layers, and two trained vectors for each layer.

Kopiczko et al. 2023, arXiv:2310.11454, eq. 2: h = W x + b * (B (d * (A x))). It has no alpha: a
sweep's value is not used.
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
        """PEFT's configuration; the trial's seed determines the random matrices.

        Raises:
            UserError: a `rank_pattern`.
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
        """As `Adapter`'s; the shared matrices are drawn on the CPU, since `meta` has no values."""
        with torch.device("cpu"):
            super().inject_without_init()


class VectorsOnly(Proof):
    """All layers share one random A and B; only vectors and `modules_to_save` are trained."""

    def check_before(self) -> None:
        """Counts the shared matrices and looks at what is trained."""
        layers = list(self.context.adapter.layers().values())
        vera_layers = [layer for layer in layers if isinstance(layer, VeraLayer)]
        require(len(vera_layers) == len(layers) > 0, "a layer is not VeRA's")
        pairs = [(layer.vera_A, layer.vera_B) for layer in vera_layers]
        shared = {(a[NAME].data_ptr(), b[NAME].data_ptr()) for a, b in pairs if a and b}
        require(len(shared) == 1, f"{len(shared)} pairs of random matrices")
        named = self.context.adapter.base.named_parameters()
        own = ((name, weight) for name, weight in named if ".modules_to_save." not in name)
        trained = {name: weight for name, weight in own if weight.requires_grad}
        unexpected = [n for n, w in trained.items() if ".vera_lambda_" not in n or w.ndim != 1]
        message = f"{len(unexpected)} weights besides vectors are trained"
        require(bool(trained) and not unexpected, message)
        self._initial = {name: weight.detach().clone() for name, weight in trained.items()}

    def check_after(self) -> None:
        """Compares the vectors with the initial ones."""
        current = dict(self.context.adapter.base.named_parameters())
        same = (torch.equal(current[name], initial) for name, initial in self._initial.items())
        require(not all(same), "no vector has changed")


ADAPTERS.add("vera", Vera)
PROOFS.add("vectors_only", VectorsOnly)
