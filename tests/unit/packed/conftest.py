"""The small base and the small task that all tests of these modules share."""

import copy

import pytest

from harness.models.base_model import BaseModel
from tests.toy_fixtures import base, model_folder, task

__all__ = ["base", "double", "model_folder", "task"]


@pytest.fixture(scope="session")
def double(base: BaseModel) -> BaseModel:
    """The base in double precision."""
    model = copy.deepcopy(base.model).double()
    return BaseModel(base.name, model, base.tokenizer, base.device, base.fingerprint)
