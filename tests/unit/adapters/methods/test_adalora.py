import pytest
import torch
from peft import AdaLoraConfig

from harness.adapters import attach
from harness.adapters.adapter import InitContext
from harness.adapters.methods.adalora import AdaLora
from harness.config.settings import TrainingSettings
from harness.errors import UserError
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.loop import TrainingProgress, TrainingRun
from harness.training.losses import CompletionLoss
from harness.training.tokenization import TokenizedTask
from harness.trial import TrialConfig

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
WANTED = TrialConfig("adalora", 4, 12.0, 0.0, "all_linear", 5e-3, 7)


def test_its_schedule_follows_the_number_of_steps(base: BaseModel) -> None:
    for steps, before, after in ((100, 15, 45), (412, 61, 185), (3, 0, 1)):
        config = attach.create_adapter(
            base.model, WANTED, context=InitContext(steps)
        ).peft_config()
        assert isinstance(config, AdaLoraConfig)
        assert (config.total_step, config.tinit, config.tfinal) == (steps, before, after)
        assert (config.init_r, config.target_r) == (6, 4)
    with pytest.raises(UserError, match="adalora needs at least 3 steps"):
        attach.create_adapter(base.model, WANTED, context=InitContext(2)).peft_config()


def test_the_penalty_is_pefts(base: BaseModel) -> None:
    ids = torch.tensor([[1, 20, 30, 40, 50]])
    with attach.attached_adapter(base, WANTED) as adapter, torch.no_grad():
        penalty = adapter.regularization_loss()
        penalised_loss = adapter.model(input_ids=ids, labels=ids).loss
        plain = base.model(input_ids=ids, labels=ids).loss
    assert penalty is not None
    assert float(penalty) == pytest.approx(float(penalised_loss - plain), rel=1e-3)


def first_loss(base: BaseModel, task: Task, penalised: bool) -> tuple[float, torch.Tensor]:
    """The loss told for the first step, and a B after it."""
    training = TrainingSettings(steps=4, batch_size=4)
    sequences = TokenizedTask(base, task, 200).training().sequences
    with pytest.MonkeyPatch.context() as patch:
        if not penalised:
            patch.setattr(AdaLora, "regularization_loss", lambda _: None)
        with attach.attached_adapter(base, WANTED, context=InitContext(4)) as adapter:
            progress = TrainingProgress()
            run = TrainingRun(
                base, CompletionLoss(base.model), sequences, adapter, training, 4, progress
            )
            next(iter(run))
            named = base.model.named_parameters()
            b = next(p.detach().clone() for name, p in named if "lora_B" in name)
            return progress.losses[0], b


def test_the_reported_loss_is_without_the_penalty(base: BaseModel, task: Task) -> None:
    loss, moved = first_loss(base, task, penalised=True)
    plain, moved_without = first_loss(base, task, penalised=False)
    assert loss == plain
    assert not torch.equal(moved, moved_without)  # yet the penalty moves the weights
