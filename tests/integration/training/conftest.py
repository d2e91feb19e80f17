"""The same small base and task as in the unit tests."""

from tests.unit.training.conftest import base, model_folder, task

__all__ = ["base", "model_folder", "task"]
