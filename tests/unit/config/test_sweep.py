import pytest
import yaml

from harness.config import catalog
from harness.config.sweep import load_sweep, parse_sweep
from harness.errors import UserError


@pytest.mark.parametrize("name", sorted(catalog.list_sweeps()))
@pytest.mark.parametrize("preset", [None, "quick", "standard", "thorough"])
def test_shipped_sweeps_are_sound_in_every_preset(name, preset):
    sweep = load_sweep(name, preset=preset)
    assert sweep.task in catalog.list_tasks()


def test_the_frozen_sweep_reads_back_as_the_same_sweep():
    sweep = load_sweep("ner_medical", preset="quick")
    again = parse_sweep(yaml.safe_load(yaml.safe_dump(sweep.to_dict())), "frozen")
    assert again.digest() == sweep.digest()


def test_the_digest_follows_what_the_study_is_and_not_how_fast_it_runs():
    plain = load_sweep("ner_medical")
    assert (
        load_sweep("ner_medical", ["minutes=5", "workers=3", "threads=2"]).digest()
        == plain.digest()
    )
    assert load_sweep("ner_medical", ["seed=1"]).digest() != plain.digest()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.rnk=3", "space.rnk: unknown key; did you mean 'rank'?"),
        ("spcae.rank=3", "spcae: unknown key; did you mean 'space'?"),
        ("space.rank=[0]", "space.rank.0: Input should be greater than or equal to 1, but is 0"),
        ("space.learning_rate={low: 1, high: 0.1}", "space.learning_rate"),
        ("space.variant=[dorra]", "unknown variant 'dorra'; did you mean 'dora'?"),
        ("seed=abc", "seed: Input should be a valid integer"),
        ("training.batch_size=6", None),
        ("training.micro_batch_size=3", "batch_size 4 is not a multiple of micro_batch_size 3"),
        ("confirmation.looks=[10, 5]", "looks must increase, but are [10, 5]"),
        ("ablation.pairs=[{vary: rank, at: {size: 3}}]", "names one factor of"),
        (
            "ablation.factors={rnk: [4]}",
            "ablation.factors: unknown factor 'rnk'; did you mean 'rank'?",
        ),
        ("ablation.factors={bias: [x]}", "ablation.factors: bias: 'x' is none of none, all"),
        ("space.variant=[adalora+dora]", "adalora cannot be joined with dora"),
        ("space.variant=[full]", "space.variant: 'full' trains no adapter; see baselines.full"),
        ("space.variant=[qlora]", "qlora is a quantised base, not a variant"),
        ("space.variant=[orthogonal]", "needs even ranks, but space.rank has 1"),
        ("search.trials=0", "search.trials: 0 needs an ablation.centre"),
        ("ablation.centre={learning_rate: 1e-3}", "since a search determines the centre"),
        (
            "space.learning_rate={low: 0.1, high: 0.1, by_variant: {dora: {low: 1, high: 2}}}",
            "needs a low below high",
        ),
        ("baselines.full_rates=5", "baselines.full_rates: should be a list, but is 5"),
        ("model.name.x=3", "'name' is a value, not a section"),
        ("rank", "write it as key.path=value"),
        ("space.rank=[1", "the value is not YAML"),
        ("summary=2026-13-01", "the value is not YAML"),
        ("space.learning_rate=[0.1, x]", "space.learning_rate.1: Input should be a valid number"),
    ],
)
def test_a_fault_is_told_with_its_key_path(override, told):
    if told is None:
        load_sweep("ner_medical", [override])
        return
    with pytest.raises(UserError) as fault:
        load_sweep("ner_medical", [override])
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)


def test_faults_of_the_file_itself(tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("task: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken.yaml:\d+: not YAML"):
        load_sweep(str(broken))
    broken.write_text("summary: 2026-13-01", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken.yaml: not YAML: month must be in"):
        load_sweep(str(broken))
    broken.write_text("- task", encoding="utf-8")
    with pytest.raises(UserError, match="a sweep is a mapping"):
        load_sweep(str(broken))
    broken.write_text("seed: 3", encoding="utf-8")
    with pytest.raises(UserError, match="task: is missing"):
        load_sweep(str(broken))


def test_options_change_the_sweep_and_steps_replace_epochs():
    sweep = load_sweep(
        "ner_medical", ["training.steps=5"], model__name="some/folder", search__trials=2
    )
    assert sweep.model.name == "some/folder"
    assert sweep.model.dtype == "float32"
    assert sweep.search.trials == 2
    assert (sweep.training.steps, sweep.training.epochs) == (5, None)


def test_a_model_may_be_named_without_a_section():
    sweep = parse_sweep({"task": "ner_medical", "model": "builtin:tiny"}, "x")
    assert sweep.model.name == "builtin:tiny"


def test_unknown_names_get_a_hint():
    with pytest.raises(UserError, match="did you mean 'ner_medical'"):
        load_sweep("ner_medcal")
    with pytest.raises(UserError, match="unknown preset 'quik'; did you mean 'quick'"):
        load_sweep("ner_medical", preset="quik")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("ablation.centre.rank=4", "ablation.centre.rank: 4 is not a level of space.rank (8, 16)"),
        ("ablation.centre.variant=dorra", "dorra is not a level of space.variant"),
        ("model.quantization=nf4", "takes the weights apart: it needs model.quantization: none"),
        ("training.restore_best=true", "variant adalora changes ranks until late"),
    ],
)
def test_a_fault_of_a_sweep_around_a_centre_is_told(override, told):
    with pytest.raises(UserError) as fault:
        load_sweep("variants_ner", [override])
    assert told in str(fault.value)


def test_a_task_may_stand_for_a_sweep_if_asked(tmp_path):
    folder = catalog.find_task("ner_medical")
    for name in (f"{folder}/", str(folder)):
        sweep = load_sweep(name, ["data.limit=8"], or_task=True)
        assert (sweep.task, sweep.data.limit) == (name, 8)
        assert sweep.space == parse_sweep({"task": "x"}, "").space
    assert load_sweep("ner_medical", or_task=True) == load_sweep(
        "ner_medical"
    )  # a sweep goes before a task
    longer = load_sweep(str(folder), ["training.max_length=500"], or_task=True).training
    assert (longer.max_length, longer.epochs) == (
        500,
        parse_sweep({"task": "x"}, "").training.epochs,
    )
    assert load_sweep(str(folder), ["training.steps=9"], or_task=True).training.epochs is None
    with pytest.raises(UserError, match="no sweep and no task 'ner_medcal'; did you mean 'ner_m"):
        load_sweep("ner_medcal", or_task=True)
    with pytest.raises(UserError, match=r"no task\.yaml in this folder"):
        load_sweep(f"{tmp_path}/", or_task=True)
    with pytest.raises(UserError, match=r"^task .*: space\.rnk: unknown key"):
        load_sweep(str(folder), ["space.rnk=3"], or_task=True)
