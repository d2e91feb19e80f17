"""EVA: A starts as the directions in which each layer's inputs vary most on the training data.

Paischer et al. 2024, arXiv:2410.07170. Every layer keeps the rank asked for (rho = 1), so that
ranks can be compared; moving ranks between layers is AdaLoRA's business here.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

import torch
from peft import EvaConfig, initialize_lora_eva_weights
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor

from harness.adapters.adapter import ADAPTERS, Adapter
from harness.adapters.proofs import NAME, PROOFS, Proof, ProofContext, allclose, require
from harness.models import token_classifier
from harness.models.batches import data_order

#: Sequences of a batch that activations are taken from.
_BATCH: Final = 16


class Eva(Adapter):
    """Runs the base on training batches until each layer's directions have settled."""

    def keywords(self) -> dict[str, Any]:
        """Plain LoRA's, with EVA's start and the same rank everywhere."""
        return super().keywords() | {"eva_config": EvaConfig(rho=1.0)}

    def inject(self) -> None:
        """Draws nothing for A: its directions follow from the data alone."""
        super().inject()
        initialize_lora_eva_weights(self.model, _Batches(self), show_progress_bar=False)


class _Batches:
    """Batches of the training data in the trial's own order; can be gone through again."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __len__(self) -> int:
        return math.ceil(len(self._adapter.given.sequences) / _BATCH)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        adapter = self._adapter
        sequences, pad = adapter.given.sequences, adapter.given.pad
        device = next(adapter.base.parameters()).device
        lengths = [len(sequence.ids) for sequence in sequences]
        order = data_order(lengths, _BATCH, adapter.config.seed)
        for _, batch in zip(range(len(self)), order, strict=False):
            rows = [sequences[index].ids for index in batch]
            longest = max(map(len, rows))
            ids = torch.tensor([(*row, *(pad,) * (longest - len(row))) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            yield {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


class FromActivations(Proof):
    """A's rows are orthonormal and catch more of the activations' variation than chance would."""

    def check_before(self) -> None:
        """Takes each layer's inputs on the probe and projects them on A."""
        layers = self.subject.lora()
        caught = {name: _caught(self.subject, name, layer) for name, layer in layers.items()}
        for name, layer in layers.items():
            a = layer.lora_A[NAME].get_parameter("weight").float()
            square = a @ a.T
            require(
                allclose(square, torch.eye(len(a), device=a.device), 1e-2), f"{name}: A's rows"
            )
            # Random directions catch rank/width of it.
            chance = min(1.0, len(a) / a.shape[1])
            enough = chance == 1.0 or caught[name] > chance
            require(enough, f"{name}: A catches {caught[name]:.2f}, chance {chance:.2f}")


@torch.no_grad()
def _caught(subject: ProofContext, name: str, layer: LoraLayer) -> float:
    """The share of the variation of a layer's inputs on the probe that lies in A's rows."""
    seen: list[Tensor] = []
    module = subject.adapter.base.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        token_classifier.probe_output(subject.adapter.base, subject.ids)
    finally:
        handle.remove()
    x = seen[0].reshape(-1, seen[0].shape[-1]).float()
    x = x - x.mean(dim=0)  # a part that all inputs share is no direction in which they vary
    a = layer.lora_A[NAME].get_parameter("weight").float()
    return float((x @ a.T).square().sum() / x.square().sum())


ADAPTERS.add("eva", Eva)
PROOFS.add("from_activations", FromActivations)
