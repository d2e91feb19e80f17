"""PiSSA and OLoRA: a part of each frozen weight moves into the adapter before training.

The base gives up `scale B A`, so that base and adapter together start as the old base. For the
way home the change alone is kept: `scale (B' A' - B A)` is a plain LoRA of twice the rank, which
loads on the untouched base (Meng et al. 2024, arXiv:2404.02948, appendix C).
"""

import copy
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import PROOFS, Proof, allclose, delta_weight, require
from harness.errors import UserError


class ResidualAdapter(Adapter):
    """Its layers' weights are copies while it is on: PEFT writes into them."""

    def peft_config(self) -> PeftConfig:
        """As for plain LoRA.

        Raises:
            UserError: PEFT's OLoRA takes transposed weights the wrong way round.
        """
        if self.transposed and self.variant.peft["init_lora_weights"] == "olora":
            raise UserError(
                f"variant {self.variant.name}: PEFT cannot start OLoRA on weights that lie "
                "transposed (Conv1D, as in GPT-2); use pissa"
            )
        return super().peft_config()

    def inject(self) -> None:
        """Keeps the first A and B, for saving."""
        for weight in self._weights():
            weight.data = weight.data.clone()  # OLoRA subtracts in place
        super().inject()
        self._first = {name: part.clone() for name, part in self._state().items()}

    def save(self, folder: Path) -> None:
        """Writes the change since the start as a plain LoRA of twice the rank."""
        found = {}
        for name, part in self._state().items():
            if "lora_A" in name:
                part = torch.cat([part, self._first[name]], dim=0)
            elif "lora_B" in name:
                part = torch.cat([part, -self._first[name]], dim=1)
            found[name] = part.contiguous()
        config = copy.deepcopy(self.model.peft_config["default"])
        assert isinstance(config, LoraConfig)
        config.init_lora_weights = True
        config.inference_mode = True
        config.r *= 2
        # The scale stays: alpha/r with twice the rank, or alpha/sqrt(r).
        config.lora_alpha *= 2**0.5 if config.use_rslora else 2  # type: ignore[assignment]
        save_file(found, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(str(folder))

    def _weights(self) -> list[torch.nn.Parameter]:
        return [
            module.get_parameter("weight")
            for name, module in self.base.named_modules()
            if any(name == each or name.endswith(f".{each}") for each in self.targets)
        ]

    def _state(self) -> dict[str, torch.Tensor]:
        found = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: part.detach().cpu() for name, part in found.items()}


class AddsUp(Proof):
    """The base has given up what the adapter starts with: their sum is the old weight."""

    def check_before(self) -> None:
        """Adds them up, layer by layer."""
        for name, layer in self.subject.lora().items():
            old, new = self.subject.weights[name], layer.get_base_layer().get_parameter("weight")
            require(not torch.equal(old, new), f"{name}: its weight is still whole")
            whole = new.detach() + delta_weight(layer)
            require(allclose(whole, old), f"{name}: base and adapter do not add up")


ADAPTERS.add("decomposed", ResidualAdapter)
PROOFS.add("decomposed", AddsUp)
