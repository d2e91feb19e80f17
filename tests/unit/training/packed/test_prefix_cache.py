"""A model's own layers: those below the lowest adapter run once a text, with no other result.

What lies below the lowest adapter is made once, and never depends on who asked first.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.tasks.task import Task
from harness.training.packed import compatibility
from harness.training.packed.layout import Layout
from harness.training.packed.pack import MicroBatcher
from harness.training.packed.prefix_cache import PrefixCache
from harness.training.packed.trainer import PackedTrainer
from harness.training.sequential import SequentialTrainer
from harness.trial import Outcome, TrialConfig, TrialRequest
from tests import packs, toy_bases
from tests.integration.training.contract import go_on

pytestmark = pytest.mark.gpu

TRAINING = TrainingSettings(steps=12, batch_size=4, micro_batch_size=2, readings=11)


def config(rank: int, layers: str, seed: int) -> TrialConfig:
    return TrialConfig("lora", rank, 8.0, 0.0, "all_linear", 5e-3, seed).with_level(
        "layers", layers
    )


@pytest.mark.parametrize("architecture", toy_bases.ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_known_architecture_goes_on_from_rows(architecture: str, dtype: torch.dtype) -> None:
    assert compatibility.supports_prefix_cache(
        toy_bases.random_base(toy_bases.ARCHITECTURES[architecture], dtype)
    )


def test_layers_that_hand_each_other_more_than_a_stream_are_never_left_out() -> None:
    base = toy_bases.random_base(toy_bases.ARCHITECTURES["llama"])
    first, second = base.model.model.layers
    told: list[torch.Tensor] = []
    below, above = first.forward, second.forward

    def tells(*given: Any, **named: Any) -> torch.Tensor:
        told[:] = [below(*given, **named)]
        return told[0]

    def listens(*given: Any, **named: Any) -> torch.Tensor:
        return above(*given, **named) + told[0]

    first.forward, second.forward = tells, listens
    assert compatibility.why_base_not_packable(base) is None
    assert not compatibility.supports_prefix_cache(base)


def test_a_model_of_one_layer_has_nothing_to_leave_out() -> None:
    one = toy_bases.Qwen2Config(**toy_bases.GROUPED | {"num_hidden_layers": 1})
    assert not compatibility.supports_prefix_cache(toy_bases.random_base(one))


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_trials_of_several_epochs_are_those_of_the_other_engine(
    architecture: str, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = toy_bases.random_base(toy_bases.ARCHITECTURES[architecture])
    configs = [config(2, "upper_half", 1), config(4, "all", 2), config(3, "1", 3)]
    requests = [TrialRequest(number, each, ()) for number, each in enumerate(configs)]
    softmax = torch.nn.functional.softmax
    monkeypatch.setattr(  # Gemma 2's own takes it in float32
        torch.nn.functional, "softmax", lambda x, dim, **_: softmax(x, dim=dim)
    )
    wanted, found = (
        {one.number: one for one in trainer.train(iter(requests), go_on)}
        for trainer in (
            SequentialTrainer(base, task, TRAINING),
            PackedTrainer(base, task, TRAINING, 2),
        )
    )
    for number, result in found.items():
        assert (result.outcome, result.error) == (Outcome.COMPLETE, None)
        losses = [each.loss for each in result.measurements]
        assert losses == pytest.approx(
            [each.loss for each in wanted[number].measurements], rel=1e-9
        )


def test_a_trial_s_digits_do_not_depend_on_those_before_it(base: BaseModel, task: Task) -> None:
    last = TrialRequest(9, config(2, "1", 5), ())
    alone = list(PackedTrainer(base, task, TRAINING, 1).train(iter([last]), go_on))[-1]
    before = [TrialRequest(0, config(4, "1", 7), ()), last]
    after = list(PackedTrainer(base, task, TRAINING, 1).train(iter(before), go_on))[-1]
    assert [each.loss for each in after.measurements] == [each.loss for each in alone.measurements]


def test_lower_layers_do_no_work_the_second_time(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with packs.adapter_pack(double, task, [config(2, "1", 1)], TRAINING, prefix_cache=True) as (
        pack,
        runs,
    ):
        batch = runs[0].next_batch()
        first = pack.accumulate_gradients({0: batch}, {0: pack.answer_count(batch)})

        def never(*_: object, **__: object) -> None:
            raise AssertionError("a layer below all adapters ran again")

        lowest = double.model.model.layers[0].self_attn
        monkeypatch.setattr(lowest, "forward", never)
        assert pack.accumulate_gradients({0: batch}, {0: pack.answer_count(batch)}) == first


def test_what_was_kept_is_given_back_where_memory_runs_out(
    double: BaseModel, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    with packs.adapter_pack(double, task, [config(2, "1", 1)], TRAINING, prefix_cache=True) as (
        pack,
        runs,
    ):
        batch = runs[0].next_batch()
        wanted = pack.accumulate_gradients({0: batch}, {0: pack.answer_count(batch)})
        assert pack._skipper is not None
        assert len(pack._skipper.cache)
        monkeypatch.setattr(type(runs[0]), "next_batch", lambda _: batch)
        own = pack.losses

        def once(_: Any) -> Any:
            monkeypatch.setattr(pack, "losses", own)
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(pack, "losses", once)
        runs[0].weights.clear()
        assert MicroBatcher(pack, TRAINING).step(runs) == {}
        assert not len(pack._skipper.cache)
        assert runs[0]._loss_value == pytest.approx(wanted[0], rel=1e-12)


WIDTH = 3


class Layers:
    """Stands for frozen layers; counts the texts that go through."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[int, ...]]] = []

    def __call__(self, level: int, ids: Tensor, layout: Layout) -> Tensor:
        assert sum(layout.lengths) == len(ids)
        self.calls.append((level, tuple(ids.tolist())))
        return (ids[:, None] * 10 + level).expand(-1, WIDTH).double()


def texts(*each: tuple[int, ...]) -> tuple[Tensor, Layout]:
    ids = torch.tensor([token for one in each for token in one])
    return ids, Layout((), tuple(len(one) for one in each))


def test_each_text_goes_through_once_whoever_stands_beside_it() -> None:
    layers = Layers()
    cache = PrefixCache(layers)
    found = cache.hidden_states(2, *texts((1, 2), (3,), (1, 2)))
    assert found[:, 0].tolist() == [12, 22, 32, 12, 22]
    assert cache.hidden_states(2, *texts((4,), (3,)))[:, 0].tolist() == [42, 32]
    assert layers.calls == [(2, (1, 2)), (2, (3,)), (2, (4,))]


def test_new_texts_go_through_together_where_that_is_asked_for() -> None:
    layers = Layers()
    cache = PrefixCache(layers, limit=3 * WIDTH * 8, batched=True)
    found = cache.hidden_states(2, *texts((1, 2), (3,), (1, 2)))
    assert found[:, 0].tolist() == [12, 22, 32, 12, 22]
    assert cache.hidden_states(2, *texts((4,), (5, 3), (3,)))[:, 0].tolist() == [42, 52, 32, 32]
    assert cache.hidden_states(2, *texts((1, 2), (3,)))[:, 0].tolist() == [12, 22, 32]
    assert layers.calls == [(2, (1, 2, 3)), (2, (4, 5, 3))]


def test_nothing_is_kept_once_memory_ran_out() -> None:
    layers = Layers()
    cache = PrefixCache(layers)
    for _ in range(2):
        assert cache.hidden_states(1, *texts((1,)))[0, 0].item() == 11
        cache.disable()
    assert cache.hidden_states(1, *texts((1,)))[0, 0].item() == 11
    assert len(layers.calls) == 3


def test_what_is_kept_is_not_what_the_caller_changes() -> None:
    cache = PrefixCache(Layers())
    cache.hidden_states(1, *texts((1,))).zero_()
    assert cache.hidden_states(1, *texts((1,)))[0, 0].item() == 11


def test_another_layer_begins_anew() -> None:
    layers = Layers()
    cache = PrefixCache(layers)
    assert [cache.hidden_states(level, *texts((1,)))[0, 0].item() for level in (1, 2, 1)] == [
        11,
        12,
        11,
    ]
    assert len(layers.calls) == 3


def test_no_more_is_kept_than_there_is_room_for() -> None:
    layers = Layers()
    cache = PrefixCache(layers, limit=2 * WIDTH * 8)
    for _ in range(2):
        assert cache.hidden_states(1, *texts((1,), (2,), (3,)))[:, 0].tolist() == [11, 21, 31]
    assert layers.calls == [(1, (1,)), (1, (2,)), (1, (3,)), (1, (3,))]
