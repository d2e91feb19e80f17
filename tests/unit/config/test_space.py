import math

import optuna
import pytest
from pydantic import ValidationError

from harness.config.space import READERS, RateRange, SearchSpace
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.trial import EXTRA_SETTINGS, TrialConfig

SPACE = SearchSpace(
    variant=("lora", "dora"),
    rank=(4, 8, 16),
    alpha_ratio=(0.3, 2),
    target_modules=("qv", "all_linear"),
    dropout=(0.0, 0.1),
    learning_rate=RateRange(low=1e-3, high=3e-2),
)


def test_suggest_stays_inside_the_space():
    study = optuna.create_study()
    for _ in range(20):
        config = SPACE.suggest(study.ask(), seed=3)
        assert config.variant in SPACE.variant
        assert config.rank in SPACE.rank
        assert any(math.isclose(config.alpha_ratio, ratio) for ratio in SPACE.alpha_ratio)
        assert config.target_modules in SPACE.target_modules
        assert config.dropout in SPACE.dropout
        assert 1e-3 <= config.learning_rate <= 3e-2
        assert config.seed == 3


def test_parameters_of_a_configuration_give_it_back():
    # 0.3 * 16 / 16 is not 0.3: the level has to be found, not computed.
    config = TrialConfig("dora", 16, 0.3 * 16, 0.1, "qv", 5e-3, seed=7)
    study = optuna.create_study()
    study.enqueue_trial(SPACE.parameters(config))
    assert SPACE.suggest(study.ask(), seed=7) == config


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        (6e-3, (3e-3, 6e-3, 1.2e-2)),
        (1e-3, (1e-3, 2e-3, 4e-3)),  # moved up: nothing below the range
        (3e-2, (7.5e-3, 1.5e-2, 3e-2)),  # moved down
    ],
)
def test_rate_grid_keeps_its_steps_and_stays_inside(centre, expected):
    assert SPACE.rate_grid(centre, count=3, step=2.0) == pytest.approx(expected, rel=1e-2)


def test_rate_grid_spreads_over_a_narrow_range():
    narrow = SPACE.model_copy(update={"learning_rate": RateRange(low=1e-3, high=2e-3)})
    grid = narrow.rate_grid(1.5e-3, count=3, step=4.0)
    assert grid[0] == pytest.approx(1e-3)
    assert grid[-1] == pytest.approx(2e-3)
    assert len(grid) == 3


def test_rate_grid_of_listed_rates_takes_neighbours():
    listed = SPACE.model_copy(update={"learning_rate": (1e-3, 3e-3, 1e-2, 3e-2)})
    assert listed.rate_grid(1e-2, count=3, step=2.0) == (3e-3, 1e-2, 3e-2)
    assert listed.rate_grid(3e-2, count=3, step=2.0) == (3e-3, 1e-2, 3e-2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rank", [0], "greater than or equal to 1"),
        ("rank", [], "has no level"),
        ("rank", [4, 4], "has a level twice"),
        ("dropout", [1.0], "less than 1"),
        ("learning_rate", {"low": 1.0, "high": 0.1}, "low 1 is above high 0.1"),
        ("ranks", [4], "Extra inputs"),
    ],
)
def test_faults_are_refused(key, value, message):
    with pytest.raises(ValidationError, match=message):
        SearchSpace.model_validate({key: value})


def test_one_level_needs_no_brackets():
    assert SearchSpace.model_validate({"rank": 8, "variant": "dora"}).rank == (8,)


def test_restrict_keeps_levels_of_the_space():
    kept = SPACE.available_levels({"rank": (4, 32), "dropout": (0.1,)})
    assert kept == {"rank": (4,), "dropout": (0.1,)}


VARIED = SPACE.model_copy(
    update={
        "learning_rate": RateRange(
            low=1e-3, high=1e-1, by_variant={"dora": {"low": 1e-4, "high": 1e-2}}
        )
    }
)


def test_a_variant_may_have_a_range_of_its_own():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        trial = study.ask()
        config = VARIED.suggest(trial, seed=3)
        drawn = trial.params["learning_rate"]
        assert 1e-3 <= drawn <= 1e-1
        if config.variant == "dora":
            assert config.learning_rate == pytest.approx(drawn / 10, rel=1e-3)
            again = optuna.create_study()
            again.enqueue_trial(VARIED.parameters(config))
            assert VARIED.suggest(again.ask(), seed=3) == config
        else:
            assert config.learning_rate == drawn


def test_a_grid_lies_at_the_same_place_of_another_range():
    assert VARIED.transfer_rate(1e-2, "lora", "dora") == pytest.approx(1e-3)
    assert VARIED.transfer_rate(1e-3, "dora", "lora") == pytest.approx(1e-2)
    assert VARIED.rate_grid(1e-4, 3, 2.0, "dora") == pytest.approx((1e-4, 2e-4, 4e-4))
    assert VARIED.rate_grid(1e-2, 3, 2.0, "lora") == pytest.approx((5e-3, 1e-2, 2e-2))


def test_what_lies_outside_the_space_is_known():
    config = TrialConfig("dora", 16, 0.3 * 16, 0.1, "qv", 5e-3, seed=7)
    assert SPACE.contains(config)
    assert not SPACE.contains(config.replace(variant="full"))
    assert not SPACE.contains(config.replace(rank=2))
    assert not SPACE.contains(config.replace(learning_rate=4e-2))
    assert VARIED.contains(config.replace(learning_rate=2e-4))
    assert not VARIED.contains(config.replace(learning_rate=2e-2))


PLAIN = TrialConfig("lora", 8, 16.0, 0.0, "qv", 1e-3, 7)


def test_every_extra_can_be_read_and_its_usual_level_stays():
    assert tuple(READERS) == tuple(EXTRA_SETTINGS)
    for name, usual in EXTRA_SETTINGS.items():
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
        ("space.layers=[[a]]", "space.layers: ['a'] is not a list of layers"),
        ("space.layers=[[.inf]]", "space.layers: [inf] is not a list of layers"),
        ("space.rank_pattern=[{q_proj: 0}]", "rank 0 is below 1"),
        ("space.rank_pattern=[[q_proj]]", "is not a mapping of modules to ranks"),
        ("space.modules_to_save=[[1]]", "is not a list of modules"),
        ("space.optimizer=[sgd]", "'sgd' is none of adamw"),
        ("space.b_rate_ratio=[-1]", "-1 is not a number above 0"),
        ("space.bias=[all, all]", "has a level twice"),
        ("ablation.factors={biass: [all]}", "did you mean 'bias'"),
        ("ablation.pairs=[{vary: rnk, at: {bias: all}}]", "did you mean 'rank'"),
    ],
)
def test_a_wrong_level_is_told_with_its_key(override, told):
    with pytest.raises(UserError) as fault:
        load_sweep("ner_medical", [override])
    assert told in str(fault.value)


def test_usual_settings_leave_configuration_and_key_as_they_were():
    assert PLAIN.with_level("bias", "none") == PLAIN
    changed = PLAIN.with_level("layers", "upper_half").with_level("bias", "all")
    assert changed.extras == "bias=all layers=upper_half"
    assert changed.level("bias") == "all"
    assert changed.level("optimizer") == "adamw"
    assert changed.key != PLAIN.key
    assert changed.with_level("bias", "none").with_level("layers", "all") == PLAIN
    assert changed.label().endswith("bias=all layers=upper_half")
    for wrong in ("layers=all", "layers=1 bias=all", "size=3", "bias"):
        with pytest.raises(ValueError, match="not in canonical form"):
            PLAIN.replace(extras=wrong)


def test_a_space_suggests_what_it_says_something_of():
    space = SearchSpace(
        variant=("lora", "lora_plus"), b_rate_ratio=(4, 16), bias=("none", "all"), layers=([0, 1],)
    )
    assert space.varied_settings() == ("b_rate_ratio", "bias", "layers")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        config = space.suggest(trial, seed=1)
        seen.add((config.variant, config.level("b_rate_ratio"), config.level("bias")))
        assert config.level("layers") == "0,1"
        # What it suggested it holds, and can suggest again.
        assert space.contains(config)
        again = optuna.create_study()
        again.enqueue_trial(space.parameters(config))
        assert space.suggest(again.ask(), seed=1) == config
    # Plain LoRA has one rate: its ratio is nothing that differs.
    assert seen == {("lora", "own", "none"), ("lora", "own", "all")} | {
        ("lora_plus", ratio, bias) for ratio in ("4", "16") for bias in ("none", "all")
    }
    plain = SearchSpace()
    assert plain.varied_settings() == ()
    assert not plain.contains(PLAIN.with_level("bias", "all"))
