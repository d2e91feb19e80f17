"""EVA: A starts as the directions in which each layer's inputs vary most on the training data.

Paischer et al. 2024, arXiv:2410.07170: the right singular vectors of the activations, from an
incremental SVD. Every layer keeps the configured rank (rho = 1), so that ranks can be compared;
redistributing ranks between layers is left to AdaLoRA.
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

#: Sequences of a batch from which activations are collected.
_BATCH_SIZE: Final = 16


class Eva(Adapter):
    """Runs the base on training batches until each layer's directions have converged."""

    def keywords(self) -> dict[str, Any]:
        """Plain LoRA's, with EVA's initialization and the same rank in every layer."""
        return super().keywords() | {"eva_config": EvaConfig(rho=1.0)}

    def inject(self) -> None:
        """Sets A from the activations of the training data alone; nothing of it is random."""
        super().inject()
        initialize_lora_eva_weights(self.model, _Batches(self), show_progress_bar=False)


class _Batches:
    """Batches of the training data in the trial's own order; can be iterated repeatedly."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __len__(self) -> int:
        return math.ceil(len(self._adapter.context.sequences) / _BATCH_SIZE)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        adapter = self._adapter
        sequences, pad = adapter.context.sequences, adapter.context.pad
        device = next(adapter.base.parameters()).device
        lengths = [len(sequence.ids) for sequence in sequences]
        order = data_order(lengths, _BATCH_SIZE, adapter.config.seed)
        for _, batch in zip(range(len(self)), order, strict=False):
            rows = [sequences[index].ids for index in batch]
            longest = max(map(len, rows))
            ids = torch.tensor([(*row, *(pad,) * (longest - len(row))) for row in rows])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
            yield {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


class FromActivations(Proof):
    """A's rows are orthonormal and explain more of the inputs' variance than random rows would."""

    def check_before(self) -> None:
        """Projects each layer's inputs for the probe on A."""
        for name, layer in self.context.lora().items():
            explained = _explained_share(self.context, name, layer)
            a = layer.lora_A[NAME].get_parameter("weight").float()
            gram = a @ a.T
            require(allclose(gram, torch.eye(len(a), device=a.device), 1e-2), f"{name}: A's rows")
            # Random directions explain rank/width of it on average.
            chance = min(1.0, len(a) / a.shape[1])
            enough = chance == 1.0 or explained > chance
            require(enough, f"{name}: A explains {explained:.2f}, chance {chance:.2f}")


@torch.no_grad()
def _explained_share(context: ProofContext, name: str, layer: LoraLayer) -> float:
    """The share of the variance of a layer's inputs for the probe that lies in A's rows."""
    inputs: list[Tensor] = []
    module = context.adapter.base.get_submodule(name)
    handle = module.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        token_classifier.probe_output(context.adapter.base, context.ids)
    finally:
        handle.remove()
    x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
    x = x - x.mean(dim=0)  # variance: the mean of the inputs is no direction in which they vary
    a = layer.lora_A[NAME].get_parameter("weight").float()
    return float((x @ a.T).square().sum() / x.square().sum())


ADAPTERS.add("eva", Eva)
PROOFS.add("from_activations", FromActivations)
