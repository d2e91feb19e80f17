import copy

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from harness.models.base_model import BaseModel, checksum, quick_checksum
from tests.toy import llama_config


@pytest.fixture
def model(base: BaseModel) -> nn.Module:
    return copy.deepcopy(base.model)


@pytest.mark.parametrize("take", [checksum, quick_checksum])
def test_equal_weights_have_equal_checksums(take, base: BaseModel, model: nn.Module) -> None:
    assert take(base.model) == take(model)


def test_the_full_checksum_sees_one_bit_of_one_number(model: nn.Module) -> None:
    before = checksum(model)
    weight = model.model.layers[1].mlp.up_proj.weight.data
    weight[17, 3] = torch.nextafter(weight[17, 3], torch.tensor(9.0))
    assert checksum(model) != before


def test_both_see_an_update_of_low_rank_in_any_matrix(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        full, quick = checksum(model), quick_checksum(model)
        out, into = parameter.shape
        parameter.data += 1e-3 * torch.ones(out, 1) @ torch.ones(1, into)
        assert checksum(model) != full, name
        assert quick_checksum(model) != quick, name


def test_both_see_another_type_or_another_name(model: nn.Module) -> None:
    full, quick = checksum(model), quick_checksum(model)
    model.to(torch.bfloat16)
    assert checksum(model) != full
    assert quick_checksum(model) != quick
    wrapped = nn.ModuleDict({"inner": LlamaForCausalLM(llama_config())})
    assert checksum(wrapped) != checksum(wrapped["inner"])
    assert quick_checksum(wrapped) != quick_checksum(wrapped["inner"])
