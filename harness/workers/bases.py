"""The base of a study in one of its workers: its precision, its weights, whose copy they are."""

from harness.errors import UserError
from harness.models import base_model, sharing
from harness.models.base_model import BaseModel
from harness.packed.precision import settled
from harness.settings import ModelSettings
from harness.storage.records import Records
from harness.sweep import Sweep
from harness.task import Task
from harness.workers.assignment import Assignment


def load_base(sweep: Sweep, task: Task, assignment: Assignment, records: Records) -> BaseModel:
    """Loads the base as the study has it.

    Args:
        sweep: the study's.
        task: its task.
        assignment: of this worker.
        records: where is decided what holds for all workers.

    Raises:
        UserError: the model cannot be loaded, or is not the one the study began with.
    """
    noted = records.attributes().get("dtype")
    threads = assignment.threads
    model = settled(sweep.model, task, sweep.training, threads, records.decide, noted)
    base = base_model.load(model, threads, task.kind.head)
    first = records.decide("base_fingerprint", base.fingerprint)
    if first != base.fingerprint:
        raise UserError(
            f"model.name: {model.name} holds other weights or another tokenizer than when study "
            f"'{assignment.study}' began; choose another name with --study NAME"
        )
    folder = assignment.folder
    if folder is not None and assignment.workers > 1 and _copied(base, model):
        sharing.share(base.model, folder, base.fingerprint)
    return base


def _copied(base: BaseModel, model: ModelSettings) -> bool:
    """Whether loading made a copy of the weights instead of mapping their file."""
    if base.device.type != "cpu" or model.quantization != "none":
        return False
    stored = base_model.load_config(model).dtype
    return bool(stored != next(base.model.parameters()).dtype)
