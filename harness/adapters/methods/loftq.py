"""LoftQ: the base quantised to 4 bits, and an adapter that starts by undoing most of the rounding.

Li et al. 2023, arXiv:2310.08659, algorithm 1: alternately quantise the weight less the adapter and
decompose the residual by SVD. PEFT's own initialization runs on a GPU only; this one runs anywhere
with bitsandbytes' NF4 functions. The frozen layers compute with the dequantised values, which are
saved with the adapter, since the original base would not fit it.
"""

import contextlib
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import torch
from peft.tuners.lora.layer import LoraLayer

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import NAME, PROOFS, Proof, delta_weight, require

#: Alternating steps; the paper's section 4 uses 5.
_ROUNDS: Final = 5
#: Weights that share a scale; the default of bitsandbytes and QLoRA.
_BLOCK: Final = 64


class LoftQInit(NamedTuple):
    """LoftQ's initialization of one weight.

    Attributes:
        weight: the dequantised 4-bit weight, shape as the original.
        a: shape (rank, in).
        b: shape (out, rank).
        errors: Frobenius norms of original - (weight + b a), falling: without an adapter, then
            after each round.
    """

    weight: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    errors: tuple[float, ...]


@torch.no_grad()
def loftq(weight: torch.Tensor, rank: int, rounds: int = _ROUNDS) -> LoftQInit:
    """Approximates a weight by a 4-bit weight plus a low-rank adapter (algorithm 1).

    Rounds stop early where one does not reduce the error, which the algorithm does not guarantee.

    Args:
        weight: shape (out, in).
        rank: of the adapter.
        rounds: most rounds of quantising and decomposing, at least 1.
    """
    full = weight.detach().to(torch.float32)
    rows, columns = full.shape
    a, b = full.new_zeros(rank, columns), full.new_zeros(rows, rank)
    best = LoftQInit(nf4(full).to(weight.dtype), a, b, ())
    best = best._replace(errors=(float((full - best.weight).norm()),))
    for _ in range(rounds):
        rounded = nf4(full - best.b @ best.a)
        residual = full - rounded
        u, s, v = torch.linalg.svd(residual, full_matrices=False)
        sqrt_singular = s[:rank].sqrt()
        b, a = u[:, :rank] * sqrt_singular, sqrt_singular[:, None] * v[:rank]
        error = float((residual - b @ a).norm())
        if error >= best.errors[-1]:
            break
        best = LoftQInit(rounded.to(weight.dtype), a, b, (*best.errors, error))
    return best


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """A weight rounded to 4-bit NormalFloat and back (QLoRA, arXiv:2305.14314, section 3)."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # slow to import

    codes, state = quantize_4bit(weight.contiguous(), blocksize=_BLOCK, quant_type="nf4")
    values: torch.Tensor = dequantize_4bit(codes, state)
    return values.to(torch.float32)


class LoftQ(Adapter):
    """LoRA on dequantised 4-bit weights, which replace the target layers' while attached."""

    #: `LoftQInit.errors` by layer.
    errors: dict[str, tuple[float, ...]]

    def inject(self) -> None:
        """Replaces each target's weight by its 4-bit approximation."""
        super().inject()
        self.errors = {}
        for name, layer in self.layers().items():
            assert isinstance(layer, LoraLayer)
            weight = layer.get_base_layer().get_parameter("weight")
            full = weight.data.T if self.transposed else weight.data
            init = loftq(full, self.config.rank)
            weight.data = init.weight.T.contiguous() if self.transposed else init.weight
            # The layer multiplies B A by its scale; A and B each divide by the square root of it.
            factor = layer.scaling["default"] ** -0.5
            for matrices, initial in ((layer.lora_A, init.a), (layer.lora_B, init.b)):
                matrix = matrices["default"].get_parameter("weight")
                matrix.data = (initial * factor).to(matrix.dtype).contiguous()
            self.errors[name] = init.errors

    def save(self, folder: Path) -> None:
        """Writes the adapter, and next to its folder the base that adapters of its rank share."""
        name = "-".join(("loftq", f"r{self.config.rank}", *self.targets))
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        base = folder.parent / f"base-loftq-r{self.config.rank}-{digest}"
        self.model.peft_config[NAME].base_model_name_or_path = str(base)
        super().save(folder)
        if base.exists():
            return
        state = {
            name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
            for name, tensor in self.base.state_dict().items()
            if ".lora_" not in name and ".modules_to_save." not in name
        }
        temporary = Path(tempfile.mkdtemp(prefix=f".{base.name}-", dir=folder.parent))
        try:
            self.base.save_pretrained(str(temporary), state_dict=state)
            temporary.chmod(0o755)
            with contextlib.suppress(FileExistsError, OSError):  # another worker was faster
                temporary.replace(base)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class LessError(Proof):
    """Base and adapter approximate the weights better than the quantised base, in every layer."""

    def check_before(self) -> None:
        """Measures both errors."""
        adapter = self.context.adapter
        require(isinstance(adapter, LoftQ), "the base is not quantised")
        assert isinstance(adapter, LoftQ)
        for name, layer in self.context.lora().items():
            original = self.context.weights[name]
            quantized = layer.get_base_layer().get_parameter("weight")
            require(not torch.equal(original, quantized), f"{name}: its weight is not quantised")
            error = float((quantized + delta_weight(layer) - original).float().norm())
            before = adapter.errors[name][0]
            message = f"{name}: error {error:.3g}, without the adapter {before:.3g}"
            require(error < before, message)


ADAPTERS.add("loftq", LoftQ)
PROOFS.add("less_error", LessError)
