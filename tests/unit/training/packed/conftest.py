"""The small base and the small task that all tests of these modules share."""

from tests.toy_fixtures import base, double, model_folder, task

__all__ = ["base", "double", "model_folder", "task"]
