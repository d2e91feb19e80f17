import optuna
import pytest

from harness.config.space import READERS, SearchSpace
from harness.config.sweep import load
from harness.errors import UserError
from harness.trial import EXTRAS, TrialConfig

PLAIN = TrialConfig("lora", 8, 16.0, 0.0, "qv", 1e-3, 7)


def test_every_extra_can_be_read_and_its_usual_level_stays():
    assert tuple(READERS) == tuple(EXTRAS)
    for name, usual in EXTRAS.items():
        assert READERS[name](usual) == usual


@pytest.mark.parametrize(
    ("name", "value", "level"),
    [
        ("b_rate_ratio", 4, "4"),
        ("b_rate_ratio", None, "own"),
        ("bias", "lora_only", "lora_only"),
        ("layers", [3, 1, 1], "1,3"),
        ("layers", "upper_half", "upper_half"),
        ("layers", 2, "2"),
        ("layers", "0,1", "0,1"),
        ("rank_pattern", {"v_proj": 4, "q_proj": 16}, "q_proj:16,v_proj:4"),
        ("rank_pattern", {}, "none"),
        ("modules_to_save", ["lm_head", "embed_tokens"], "embed_tokens,lm_head"),
        ("modules_to_save", None, "none"),
        ("optimizer", "paged_adamw_8bit", "paged_adamw_8bit"),
        ("gradient_checkpointing", True, "on"),
        ("compute_dtype", "bfloat16", "bfloat16"),
    ],
)
def test_a_level_is_one_word_and_is_read_again_as_itself(name, value, level):
    assert READERS[name](value) == level
    assert READERS[name](level) == level
    assert " " not in level


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.bias=[some]", "space.bias: 'some' is none of none, all, lora_only"),
        ("space.layers=[[a]]", "space.layers: ['a'] is no list of layers"),
        ("space.rank_pattern=[{q_proj: 0}]", "rank 0 is below 1"),
        ("space.rank_pattern=[[q_proj]]", "is no mapping of modules to ranks"),
        ("space.modules_to_save=[[1]]", "is no list of modules"),
        ("space.optimizer=[sgd]", "'sgd' is none of adamw"),
        ("space.b_rate_ratio=[-1]", "-1 is no number above 0"),
        ("space.bias=[all, all]", "names a level twice"),
        ("ablation.factors={biass: [all]}", "did you mean 'bias'"),
        ("ablation.pairs=[{vary: rnk, at: {bias: all}}]", "did you mean 'rank'"),
    ],
)
def test_a_wrong_level_is_told_with_its_key(override, told):
    with pytest.raises(UserError) as fault:
        load("ner_medical", [override])
    assert told in str(fault.value)


def test_usual_settings_leave_configuration_and_key_as_they_were():
    assert PLAIN.at("bias", "none") == PLAIN
    changed = PLAIN.at("layers", "upper_half").at("bias", "all")
    assert changed.extras == "bias=all layers=upper_half"
    assert changed.level("bias") == "all"
    assert changed.level("optimizer") == "adamw"
    assert changed.key != PLAIN.key
    assert changed.at("bias", "none").at("layers", "all") == PLAIN
    assert changed.label().endswith("bias=all layers=upper_half")
    for wrong in ("layers=all", "layers=1 bias=all", "size=3", "bias"):
        with pytest.raises(ValueError, match="not in their one form"):
            PLAIN.with_(extras=wrong)


def test_a_space_suggests_what_it_says_something_of():
    space = SearchSpace(
        variant=("lora", "lora_plus"), b_rate_ratio=(4, 16), bias=("none", "all"), layers=([0, 1],)
    )
    assert space.varied() == ("b_rate_ratio", "bias", "layers")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        config = space.suggest(trial, seed=1)
        seen.add((config.variant, config.level("b_rate_ratio"), config.level("bias")))
        assert config.level("layers") == "0,1"
        # What it suggested it holds, and can suggest again.
        assert space.holds(config)
        again = optuna.create_study()
        again.enqueue_trial(space.parameters(config))
        assert space.suggest(again.ask(), seed=1) == config
    # Plain LoRA has one rate: its ratio is nothing that differs.
    assert seen == {("lora", "own", "none"), ("lora", "own", "all")} | {
        ("lora_plus", ratio, bias) for ratio in ("4", "16") for bias in ("none", "all")
    }
    plain = SearchSpace()
    assert plain.varied() == ()
    assert not plain.holds(PLAIN.at("bias", "all"))
