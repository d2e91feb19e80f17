"""Tests of `harness.report.snippets`: what it writes is run, and gives the configuration meant."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from harness.config.variants import VARIANTS, resolve_variant
from harness.report.snippets import add_seeds, commands, lora_config, rerun_command
from harness.study.worker import variant_record

if TYPE_CHECKING:
    from harness.results import StudyResults


PICK = {
    "variant": "lora",
    "rank": 16,
    "alpha": 32.0,
    "dropout": 0.05,
    "target_modules": "qv",
    "learning_rate": 0.0042187,
}


MODULES = {"qv": ["q_proj", "v_proj"]}


def traits(variant: str) -> dict[str, Any]:
    entry = VARIANTS.get(variant)
    return variant_record(entry)


def run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(source, "snippet", "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore")  # PEFT's imports are not what is tested here
@pytest.mark.parametrize("variant", VARIANTS.names())
def test_it_makes_the_configuration(variant: str) -> None:
    names = run(lora_config({**PICK, "variant": variant}, MODULES, traits(variant)))
    config = names["config"]
    if variant == "vera":
        assert (config.r, config.vera_dropout) == (16, 0.05)
        return
    rank = (config.init_r, config.target_r) if variant == "adalora" else config.r
    assert rank == ((24, 16) if variant == "adalora" else 16)
    assert (config.lora_alpha, config.lora_dropout) == (32, 0.05)
    assert set(config.target_modules) == {"q_proj", "v_proj"}
    assert config.use_rslora == (variant == "rslora")
    assert config.use_dora == (variant == "dora")
    assert names["learning_rate"] == 0.0042187


def test_module_names_stand_for_themselves_and_groups_are_those_given() -> None:
    joined = lora_config({**PICK, "target_modules": "c_attn+c_proj"}, MODULES, {})
    assert 'target_modules=["c_attn", "c_proj"]' in joined
    given = lora_config(PICK, {"qv": ("query", "value")}, {})
    assert 'target_modules=["query", "value"]' in given


def testvariant_record_can_be_given_for_any_variant() -> None:
    source = lora_config({**PICK, "variant": "pissa"}, MODULES, {"peft": {"init": "pissa"}})
    assert 'init="pissa"' in source


def test_a_variant_it_is_told_nothing_of_is_not_passed_off_as_plain_lora() -> None:
    first = lora_config({**PICK, "variant": "new"}, MODULES, None).splitlines()[0]
    assert first == "# add the keywords that variant 'new' needs"


def test_the_second_rate_of_lora_plus_is_told() -> None:
    assert "learning_rate * 16" in lora_config(
        {**PICK, "variant": "lora_plus"}, MODULES, traits("lora_plus")
    )


def test_what_a_configuration_cannot_say_is_told() -> None:
    def told(variant: str) -> str:
        return lora_config({**PICK, "variant": variant}, MODULES, traits(variant))

    assert "update_and_allocate" in told("adalora")
    assert "# lora_A is not trained" in told("lora_fa")
    assert "path_initial_model_for_weight_conversion" in told("pissa")
    assert "initialize_lora_eva_weights" in told("eva")
    assert "rounded to 4 bits" in told("loftq")


@pytest.mark.parametrize("variant", [*VARIANTS.names(), "dora+lora_plus", "pissa+rslora"])
def test_studies_that_did_not_record_class_and_remark_give_the_same_snippet(variant: str) -> None:
    recorded = variant_record(resolve_variant(variant))
    older = {k: v for k, v in recorded.items() if k not in ("peft_class", "snippet_remark")}
    pick = {**PICK, "variant": variant}
    assert lora_config(pick, MODULES, older) == lora_config(pick, MODULES, recorded)


def test_settings_beside_the_six_come_along() -> None:
    extras = (
        "bias=lora_only layers=upper_half rank_pattern=q_proj:32 modules_to_save=lm_head,norm "
        "optimizer=adamw_8bit"
    )
    modules = {**MODULES, "qv in upper_half": ["1.self_attn.q_proj", "1.self_attn.v_proj"]}
    source = lora_config({**PICK, "extras": extras}, modules, traits("lora"))
    config = run(source)["config"]
    assert set(config.target_modules) == {"1.self_attn.q_proj", "1.self_attn.v_proj"}
    assert config.bias == "lora_only"
    assert config.rank_pattern == {"q_proj": 32}
    assert config.modules_to_save == ["lm_head", "norm"]
    assert "# trained with optimizer adamw_8bit" in source
    plus = {**PICK, "variant": "lora_plus", "extras": "b_rate_ratio=4"}
    assert "learning_rate * 4" in lora_config(plus, MODULES, traits("lora_plus"))


def test_hostile_words_stay_words() -> None:
    hostile = 'x"\n); import os  # '
    source = lora_config({**PICK, "target_modules": hostile, "variant": "a\nimport os"}, {}, None)
    compile(source, "snippet", "exec")
    assert not any(line.lstrip().startswith("import os") for line in source.splitlines())


@pytest.mark.filterwarnings("ignore")
def test_a_new_head_is_told_with_its_labels() -> None:
    head = {"module": "classifier", "labels": ["O", 'B-"X"'], "task_type": "TOKEN_CLS"}
    source = lora_config(PICK, MODULES, traits("lora"), head)
    config = run(source)["config"]
    assert str(config.task_type).endswith("TOKEN_CLS")
    assert config.modules_to_save == ["classifier"]
    assert "AutoModelForTokenClassification" in source
    assert r'id2label={0: "O", 1: "B-\"X\""})' in source
    also = {**PICK, "extras": "modules_to_save=norm"}
    both = run(lora_config(also, MODULES, traits("lora"), head))["config"]
    assert both.modules_to_save == ["norm", "classifier"]
    assert "CAUSAL_LM" in lora_config(PICK, MODULES, traits("lora"))


def noted(study: StudyResults, command: str) -> StudyResults:
    return dataclasses.replace(study, provenance={"command": command})


def test_the_command_is_the_one_that_was_noted_else_the_plain_one(full: StudyResults) -> None:
    assert rerun_command(noted(full, "python -m harness sweep x --trials 9")) == (
        "python -m harness sweep x --trials 9"
    )
    assert rerun_command(full) == "python -m harness sweep made_up"
    assert commands(full) == (
        "python -m harness sweep made_up",
        "python -m harness pick made_up",
        "python -m harness report made_up",
    )


@pytest.mark.parametrize("places", ["--results 'a b' --reports=c", "--reports c --results='a b'"])
def test_a_study_is_read_where_it_was_written(places: str, full: StudyResults) -> None:
    first, pick, report = commands(noted(full, f"python -m harness sweep x --study y {places}"))
    assert first.endswith(places)
    assert pick == "python -m harness pick made_up --results 'a b'"
    options = report.removeprefix("python -m harness report made_up ")
    assert options in ("--results 'a b' --reports c", "--reports c --results 'a b'")


def test_a_command_that_cannot_be_taken_apart_is_kept(full: StudyResults) -> None:
    command = "python -m harness sweep it's --results there"
    assert commands(noted(full, command))[:2] == (
        command,
        "python -m harness pick made_up --results there",
    )


def test_seeds_are_added_only_once_the_looks_are_done(full: StudyResults) -> None:
    assert add_seeds(full, 6) == "python -m harness sweep made_up --add-seeds 6"
    planned = dict(full.sweep, confirmation={**full.sweep["confirmation"], "looks": [5, 10, 99]})
    assert add_seeds(dataclasses.replace(full, sweep=planned), 6) is None
    assert add_seeds(dataclasses.replace(full, sweep={}), 6) is None
