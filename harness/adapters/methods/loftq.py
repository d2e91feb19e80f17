"""LoftQ: the base rounded to 4 bits, and an adapter that starts by undoing most of the rounding.

Li et al. 2023, arXiv:2310.08659, algorithm 1: quantise the weight less the adapter, decompose
what the quantisation lost, and again. PEFT's own start runs on a GPU only; this one runs anywhere
over bitsandbytes' NF4 functions. The frozen layers compute with the values that the 4-bit weights
stand for; they are saved with the adapter, since the untouched base would not fit it.
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

#: Rounds of quantising and decomposing; the paper's section 4 uses 5.
_ROUNDS: Final = 5
#: Weights that share a scale; bitsandbytes' default, and QLoRA's.
_BLOCK: Final = 64


class Start(NamedTuple):
    """What LoftQ makes of one weight.

    Attributes:
        weight: the values of the 4-bit weight, shape as the weight.
        a: shape (rank, in).
        b: shape (out, rank).
        errors: Frobenius norms of what is still lost, falling: without an adapter, then after each
            round.
    """

    weight: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    errors: tuple[float, ...]


@torch.no_grad()
def loftq(weight: torch.Tensor, rank: int, rounds: int = _ROUNDS) -> Start:
    """Finds a 4-bit weight and an adapter whose sum is near the weight.

    Nothing promises that a round loses less than the one before, though most do; it ends with the
    first that does not.

    Args:
        weight: shape (out, in).
        rank: of the adapter.
        rounds: how often to quantise and decompose at most, at least once.
    """
    whole = weight.detach().to(torch.float32)
    best = Start(nf4(whole).to(weight.dtype), *_nothing(whole, rank), ())
    best = best._replace(errors=(float((whole - best.weight).norm()),))
    for _ in range(rounds):
        rounded = nf4(whole - best.b @ best.a)
        lost = whole - rounded
        u, s, v = torch.linalg.svd(lost, full_matrices=False)
        root = s[:rank].sqrt()
        b, a = u[:, :rank] * root, root[:, None] * v[:rank]
        error = float((lost - b @ a).norm())
        if error >= best.errors[-1]:
            break
        best = Start(rounded.to(weight.dtype), a, b, (*best.errors, error))
    return best


def _nothing(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = weight.shape
    return weight.new_zeros(rank, columns), weight.new_zeros(rows, rank)


def nf4(weight: torch.Tensor) -> torch.Tensor:
    """What a weight's 4-bit normal-float code stands for (QLoRA, arXiv:2305.14314, section 3)."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # slow to import

    codes, state = quantize_4bit(weight.contiguous(), blocksize=_BLOCK, quant_type="nf4")
    values: torch.Tensor = dequantize_4bit(codes, state)
    return values.to(torch.float32)


class LoftQ(Adapter):
    """Its layers' weights are others while it is on."""

    #: By layer, as `Start.errors`.
    errors: dict[str, tuple[float, ...]]

    def inject(self) -> None:
        """Replaces each target's weight by its rounded self."""
        super().inject()
        self.errors = {}
        for name, layer in self.layers().items():
            assert isinstance(layer, LoraLayer)
            held = layer.get_base_layer().get_parameter("weight")
            weight = held.data.T if self.transposed else held.data
            start = loftq(weight, self.config.rank)
            held.data = start.weight.T.contiguous() if self.transposed else start.weight
            # The layer multiplies by its scale, half of which each of the two takes back.
            share = layer.scaling["default"] ** -0.5
            for matrices, first in ((layer.lora_A, start.a), (layer.lora_B, start.b)):
                matrix = matrices["default"].get_parameter("weight")
                matrix.data = (first * share).to(matrix.dtype).contiguous()
            self.errors[name] = start.errors

    def save(self, folder: Path) -> None:
        """Writes the adapter, and beside its folder the base that it belongs to, once for all."""
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
        draft = Path(tempfile.mkdtemp(prefix=f".{base.name}-", dir=folder.parent))
        try:
            self.base.save_pretrained(str(draft), state_dict=state)
            draft.chmod(0o755)
            with contextlib.suppress(FileExistsError, OSError):  # another worker was first
                draft.replace(base)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class LessError(Proof):
    """Base and adapter are nearer to the full weights than the rounded base, in every layer."""

    def check_before(self) -> None:
        """Measures both; the error after the last round is the smallest."""
        adapter = self.subject.adapter
        require(isinstance(adapter, LoftQ), "the base is not rounded")
        assert isinstance(adapter, LoftQ)
        for name, layer in self.subject.lora().items():
            old, new = self.subject.weights[name], layer.get_base_layer().get_parameter("weight")
            require(not torch.equal(old, new), f"{name}: its weight is not rounded")
            lost = float((new + delta_weight(layer) - old).float().norm())
            alone = adapter.errors[name][0]
            require(lost < alone, f"{name}: error {lost:.3g}, without the adapter {alone:.3g}")


ADAPTERS.add("loftq", LoftQ)
PROOFS.add("less_error", LessError)
