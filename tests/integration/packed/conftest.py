"""The small base and the small task of the other engine's tests."""

from tests.toy_fixtures import base, double, model_folder, task

__all__ = ["base", "double", "model_folder", "task"]
