"""One small frozen base and one small task for all tests of a module."""

import copy
from pathlib import Path

import pytest
import torch

from harness.config.settings import ModelSettings
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from tests import toy, toy_bases


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def base(model_folder: Path) -> BaseModel:
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    return base_model.load(ModelSettings(name=str(model_folder)), threads=1)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy.load_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="session")
def double(base: BaseModel) -> BaseModel:
    """The base in double precision throughout."""
    model = copy.deepcopy(base.model).double()
    copied = BaseModel(base.name, model, base.tokenizer, base.device, base.fingerprint)
    return toy_bases.with_exact_norms(copied)
