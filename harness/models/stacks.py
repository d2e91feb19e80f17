"""The lists of blocks that a transformer is made of. Knows modules, nothing of adapters."""

from torch import nn
from transformers import PreTrainedModel


def stacks(model: PreTrainedModel) -> list[nn.ModuleList]:
    """Lists of modules that no other list holds, such as T5's blocks hold their layers."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and not any(part.isdigit() for part in name.split("."))
    ]
