"""Tasks: what a model is asked, from what data, and how its answers are scored."""

from harness.tasks import entities as entities
from harness.tasks import types as types
