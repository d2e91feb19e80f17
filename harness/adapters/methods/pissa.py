"""PiSSA and OLoRA: the adapter starts as a part of each weight, which the base gives up.

PiSSA takes the largest singular directions (Meng et al. 2024, arXiv:2404.02948, eqs. 2 to 4),
OLoRA the first columns of a QR decomposition (Büyükakyüz 2024, arXiv:2406.01775). The frozen
residual is `W - scale B A`, so that base and adapter together start as the original model. Saved
is the change alone: `scale (B' A' - B A)` is a plain LoRA of twice the rank, which loads on the
original base (PiSSA, appendix C).
"""

import copy
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import PROOFS, Proof, allclose, delta_weight, require
from harness.adapters.targets import has_suffix
from harness.errors import UserError


class ResidualAdapter(Adapter):
    """LoRA on residual weights; PEFT writes them into copies of the base weights."""

    def peft_config(self) -> PeftConfig:
        """As for plain LoRA.

        Raises:
            UserError: OLoRA on transposed weights, which PEFT decomposes the wrong way round.
        """
        if self.transposed and self.variant.peft["init_lora_weights"] == "olora":
            raise UserError(
                f"variant {self.variant.name}: PEFT cannot initialise OLoRA on transposed weights "
                "(Conv1D, as in GPT-2); use pissa"
            )
        return super().peft_config()

    def inject(self) -> None:
        """Records the initial A and B, which `save` subtracts."""
        for name, module in self.base.named_modules():
            if has_suffix(name, *self.targets):
                weight = module.get_parameter("weight")
                weight.data = weight.data.clone()  # OLoRA subtracts in place
        super().inject()
        self._initial = {name: part.clone() for name, part in self._state().items()}

    def save(self, folder: Path) -> None:
        """Writes the change since initialization as a plain LoRA of twice the rank."""
        tensors = {}
        for name, tensor in self._state().items():
            if "lora_A" in name:
                tensor = torch.cat([tensor, self._initial[name]], dim=0)
            elif "lora_B" in name:
                tensor = torch.cat([tensor, -self._initial[name]], dim=1)
            tensors[name] = tensor.contiguous()
        config = copy.deepcopy(self.model.peft_config["default"])
        assert isinstance(config, LoraConfig)
        config.init_lora_weights = True
        config.inference_mode = True
        config.r *= 2
        # Twice the rank with the same scale: alpha/r needs twice alpha, rsLoRA's alpha/sqrt(r)
        # (arXiv:2312.03732, eq. 4) sqrt(2) times.
        config.lora_alpha *= 2**0.5 if config.use_rslora else 2  # type: ignore[assignment]
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(folder))

    def _state(self) -> dict[str, torch.Tensor]:
        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: part.detach().cpu() for name, part in state.items()}


class ResidualSum(Proof):
    """The frozen residual and the initial adapter add up to the original weight."""

    def check_before(self) -> None:
        """Adds them up, layer by layer."""
        for name, layer in self.context.lora().items():
            original = self.context.weights[name]
            residual = layer.get_base_layer().get_parameter("weight")
            require(not torch.equal(original, residual), f"{name}: its weight is no residual")
            total = residual.detach() + delta_weight(layer)
            require(allclose(total, original), f"{name}: base and adapter do not add up")


ADAPTERS.add("decomposed", ResidualAdapter)
PROOFS.add("decomposed", ResidualSum)
