"""The decoder gone through by hand gives the losses and gradients of the base's own layers.

Pieces of a decoder layer against Transformers' own and autograd, in double precision.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, MistralConfig, PretrainedConfig, Qwen2Config, Qwen3Config
from transformers.models.llama.modeling_llama import (
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from harness.config.settings import TrainingSettings
from harness.models.base_model import BaseModel
from harness.models.batches import TokenSequence
from harness.tasks.task import Task
from harness.training.packed import compatibility
from harness.training.packed.layout import Layout, use_layout
from harness.training.packed.llama import Core, Norm, Turn, gated, ungated
from harness.training.packed.pack import AdapterPack, MicroBatcher
from harness.training.packed.slot import SlotTrainingRun
from harness.trial import TrialConfig
from tests import packs, toy, toy_bases

TRAINING = TrainingSettings(steps=3, batch_size=4, micro_batch_size=2, readings=2)
#: Alike in all four, and unlike what goes through by hand.
BY_HAND: dict[str, PretrainedConfig] = {
    "llama": toy.llama_config(),
    "llama_biased": LlamaConfig(**toy_bases.GROUPED, attention_bias=True),
    "mistral": MistralConfig(**toy_bases.GROUPED, sliding_window=toy_bases.WINDOW),
    "qwen2": Qwen2Config(**toy_bases.GROUPED),
    "qwen2_window": toy_bases.ARCHITECTURES["qwen2_window"],
    "qwen3": Qwen3Config(**toy_bases.GROUPED, head_dim=16),
}
OTHERS = sorted({*toy_bases.ARCHITECTURES} - {*BY_HAND})


def lora(targets: str, seed: int, variant: str = "lora", dropout: float = 0.0) -> TrialConfig:
    return TrialConfig(variant, 4, 8.0, dropout, targets, 5e-3, seed)


NEIGHBOURS = (
    lora("all_linear", 5),
    lora("qv", 6, "dora"),
    lora("mlp", 7, dropout=0.3),
    lora("all_linear", 8, "dora", 0.3),
    lora("all_linear", 9, "pissa"),
)


def gradients(
    base: BaseModel, task: Task, configs: tuple[TrialConfig, ...], by_hand: bool
) -> tuple[dict[int, float], dict[int, list[Tensor]]]:
    """Of one step, with B away from zero so that A has a gradient."""
    with packs.adapter_pack(base, task, configs, TRAINING, by_hand) as (pack, runs):
        for run in runs.values():
            stir(run)
        assert MicroBatcher(pack, TRAINING).step(runs) == {}
        losses = {slot: run._loss_value for slot, run in runs.items()}
        return losses, {slot: trained(run) for slot, run in runs.items()}


def stir(run: SlotTrainingRun) -> None:
    drawn = torch.Generator().manual_seed(1)
    for each in run.parameters:
        if each.ndim == 2:
            noise = torch.randn(each.shape, generator=drawn, dtype=torch.float64)
            each.data += 0.05 * noise.to(each.dtype)
    run.weights.refresh()


def trained(run: SlotTrainingRun) -> list[Tensor]:
    found = [run.weights.of(each).gradient for each in run.parameters]
    return [each.clone() for each in found if each is not None]


def same(base: BaseModel, task: Task, configs: tuple[TrialConfig, ...], bound: float) -> None:
    (losses, found), (wanted_losses, wanted) = (
        gradients(base, task, configs, by_hand) for by_hand in (True, False)
    )
    assert losses == pytest.approx(wanted_losses, rel=bound)
    for slot, each in wanted.items():
        assert len(found[slot]) == len(each) > 0
        for one, other in zip(found[slot], each, strict=True):
            assert other.norm() > 0
            assert float((one - other).norm()) <= bound * float(other.norm())


@pytest.mark.parametrize("name", BY_HAND)
def test_neighbours_have_the_gradients_of_the_base_s_own_layers(name: str, task: Task) -> None:
    base = toy_bases.with_exact_norms(toy_bases.random_base(BY_HAND[name]))
    assert compatibility.supports_manual_backward(base)
    same(base, task, NEIGHBOURS[:4], 1e-10)


@pytest.mark.parametrize("targets", ["q", "qv", "o_proj", "down_proj", "mlp", "all_linear"])
@pytest.mark.parametrize("layers", ["all", "1", "0"])
def test_whichever_layers_learn(targets: str, layers: str, double: BaseModel, task: Task) -> None:
    same(double, task, (lora(targets, 5).with_level("layers", layers),), 1e-10)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_in_less_than_double_precision_it_is_near(
    dtype: torch.dtype, bound: float, task: Task
) -> None:
    base = toy_bases.random_base(toy.llama_config(), dtype)
    assert compatibility.supports_manual_backward(base)
    # PEFT decomposes in single precision alone; in half precision the base's own layers see rows
    # that fill up, too, and drop from these as well: no dropout is alike.
    half = (*NEIGHBOURS[:2], lora("mlp", 7))
    same(base, task, NEIGHBOURS if dtype == torch.float32 else half, bound)


def test_half_precision_is_nearer_to_the_truth_by_hand(task: Task) -> None:
    """The stream between layers and the adapters are in float32, as a base's own are not."""
    half = toy_bases.random_base(toy.llama_config(), torch.bfloat16)
    exact = toy_bases.random_base(toy.llama_config(), torch.bfloat16)
    exact.model.double()
    _, wanted = gradients(exact, task, NEIGHBOURS[:2], by_hand=False)
    errors = []
    for by_hand in (True, False):
        _, found = gradients(half, task, NEIGHBOURS[:2], by_hand)
        apart = [
            float((one - other).norm() / other.norm())
            for slot, each in wanted.items()
            for one, other in zip(found[slot], each, strict=True)
        ]
        errors.append(sum(apart) / len(apart))
    assert errors[0] < errors[1]


def test_adapters_keep_float32_on_a_base_in_half_precision(task: Task) -> None:
    base = toy_bases.random_base(toy.llama_config(), torch.bfloat16)
    with packs.adapter_pack(base, task, NEIGHBOURS[:1], TRAINING, by_hand=True) as (pack, runs):
        assert pack.dtype == torch.float32
        values = {
            run.weights.of(each).value.dtype for run in runs.values() for each in run.parameters
        }
    assert values == {torch.float32}


def test_rows_that_fill_up_change_nothing(double: BaseModel, task: Task) -> None:
    wanted = gradients(double, task, NEIGHBOURS[:3], by_hand=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdapterPack, "_asked", filled(AdapterPack._asked))
        losses, found = gradients(double, task, NEIGHBOURS[:3], by_hand=True)
    assert losses == pytest.approx(wanted[0], rel=1e-12)
    for slot, each in wanted[1].items():
        for one, other in zip(found[slot], each, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def filled(plain: Any) -> Any:
    """Like the method, in a pack that fills rows up."""

    def asked(pack: AdapterPack, *given: Any) -> Any:
        pack._rounded = 32
        return plain(pack, *given)

    return asked


def test_a_text_that_is_learnt_whole_and_one_without_an_answer(double: BaseModel) -> None:
    whole = TokenSequence((5, 6, 7, 8, 9, 10), 0, (3,))
    short = TokenSequence((5, 6), 1)
    pack = AdapterPack(double, compatibility.layers(double.model), by_hand=True)
    batches = {0: [whole], 1: [short, whole]}
    answers = {slot: pack.answers(batch) for slot, batch in batches.items()}
    found = pack.gradients(batches, answers)
    with torch.no_grad():
        wanted = pack.losses(batches)
    for slot, loss in wanted.items():
        assert found[slot] == pytest.approx(float(loss) / answers[slot], rel=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_go_by_their_own_layers(name: str) -> None:
    assert not compatibility.supports_manual_backward(
        toy_bases.random_base(toy_bases.ARCHITECTURES[name])
    )


def test_a_model_that_looks_alike_and_says_something_else_is_found_out() -> None:
    base = toy_bases.with_exact_norms(toy_bases.random_base(toy.llama_config()))
    assert compatibility.supports_manual_backward(base)
    attention = base.model.model.layers[0].self_attn
    attention.scaling = attention.scaling * 1.5
    assert compatibility.supports_manual_backward(base)  # it is read off the layer
    plain = attention.forward

    def twice(*given: Any, **named: Any) -> Any:
        out, shares = plain(*given, **named)
        return out * 1.01, shares

    attention.forward = twice
    assert compatibility.is_llama_shaped(base.model)
    assert not compatibility.supports_manual_backward(base)


@pytest.mark.parametrize("change", ["head_bias", "more", "activation", "subclass"])
def test_pieces_that_are_not_known_are_refused(change: str) -> None:
    base = toy_bases.random_base(toy.llama_config())
    layer = base.model.model.layers[1]
    if change == "head_bias":
        base.model.lm_head = nn.Linear(32, 259)
    elif change == "more":
        layer.another = nn.Identity()
    elif change == "activation":
        layer.mlp.act_fn = nn.GELU()
    else:

        class Own(nn.Linear):
            pass

        layer.mlp.up_proj = Own(32, 64, bias=False)
    assert not compatibility.is_llama_shaped(base.model)
    assert not compatibility.supports_manual_backward(base)


DRAWN = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAWN, dtype=torch.float64)


def same_decoder_parts(found: Tensor, wanted: Tensor | None) -> None:
    assert wanted is not None
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 12), (7, 2, 6)])
def test_norm_is_transformers_own(shape: tuple[int, ...]) -> None:
    module = LlamaRMSNorm(shape[-1], eps=1e-3).double()
    nn.init.normal_(module.weight)
    x, gradient = drawn(*shape), drawn(*shape)
    norm = Norm(module, torch.float64)
    out, kept = norm.forward(x)
    given = x.clone().requires_grad_()
    # Its own forward goes by float32.
    wanted = module.weight * given * torch.rsqrt(given.pow(2).mean(-1, keepdim=True) + 1e-3)
    wanted.backward(gradient)
    torch.testing.assert_close(out, module(x), rtol=1e-6, atol=1e-6)
    same_decoder_parts(out, wanted.detach())
    same_decoder_parts(norm.backward(kept, gradient), given.grad)


def test_turn_is_transformers_own() -> None:
    config = toy.llama_config()
    layout = Layout((), (5, 9))
    query, key, gradient = drawn(14, 2, 16), drawn(14, 1, 16), drawn(14, 2, 16)
    cosines, sines = LlamaRotaryEmbedding(config)(query[None], layout.positions)
    assert cosines.shape[-1] == query.shape[-1]
    turn = Turn(cosines[0], sines[0])
    given = query.clone().requires_grad_()
    wanted = apply_rotary_pos_emb(
        given.transpose(0, 1)[None], key.transpose(0, 1)[None], cosines, sines
    )
    for found, one in zip((turn.forward(query), turn.forward(key)), wanted, strict=True):
        same_decoder_parts(found, one[0].transpose(0, 1).detach())
    wanted[0][0].transpose(0, 1).backward(gradient)
    same_decoder_parts(turn.backward(gradient), given.grad)


@pytest.mark.parametrize("window", [None, 3])
def test_core_sees_its_own_sequence_up_to_itself(window: int | None) -> None:
    layout = Layout((), (5, 9))
    heads = (drawn(14, 4, 6), drawn(14, 2, 6), drawn(14, 2, 6))
    gradient = drawn(14, 24)
    core = Core(0.3, window)
    with use_layout(layout):
        out, kept = core.forward(*heads, learns=True)
        unlearnt, nothing = core.forward(*heads, learns=False)
    assert nothing is None
    assert kept is not None
    same_decoder_parts(out, unlearnt)

    given = [each.clone().requires_grad_() for each in heads]
    query, key, value = given[0], *(each.repeat_interleave(2, dim=1) for each in given[1:])
    places, owners = layout.positions[0], torch.tensor([0] * 5 + [1] * 9)
    distance = places[:, None] - places
    seen = (owners[:, None] == owners) & (distance >= 0) & (distance < (window or 99))
    products = torch.einsum("ihw,jhw->hij", query, key) * 0.3
    shares = products.masked_fill(~seen, float("-inf")).softmax(-1)
    wanted = torch.einsum("hij,jhw->ihw", shares, value).flatten(1)
    wanted.backward(gradient)
    same_decoder_parts(out, wanted.detach())
    for found, one in zip(core.backward(kept, gradient), given, strict=True):
        same_decoder_parts(found, one.grad)


def test_gate_is_silu_of_one_times_the_other() -> None:
    gate, up, gradient = drawn(7, 12), drawn(7, 12), drawn(7, 12)
    given = [each.clone().requires_grad_() for each in (gate, up)]
    wanted = nn.functional.silu(given[0]) * given[1]
    wanted.backward(gradient)
    out, kept = gated(gate, up)
    same_decoder_parts(out, wanted.detach())
    for found, one in zip(ungated(kept, gradient), given, strict=True):
        same_decoder_parts(found, one.grad)
