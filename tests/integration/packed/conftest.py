"""The small base and the small task of the other engine's tests."""

from tests.toy_fixtures import base, model_folder, task

__all__ = ["base", "model_folder", "task"]
