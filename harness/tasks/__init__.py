"""Tasks: what a model is asked, from which data, and how its answers are scored.

Importing this package registers all task types.
"""

from harness.tasks import entities as entities
from harness.tasks import types as types
from harness.tasks.task import Task, load_task

__all__ = ["Task", "load_task"]
