from pathlib import Path

import pytest
from transformers import OPTConfig

from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.study import checks
from harness.tasks.task import load_task_for
from tests import toy, toy_tags
from tests.task_folders import pair_row, write_rows, write_task

QUICK = ["data.limit=8"]


def test_a_sound_sweep_has_nothing_to_say():
    assert checks.check_sweep(load_sweep("ner_medical", QUICK)) == ()


def test_ablation_levels_that_the_space_lacks_are_named():
    notes = checks.check_sweep(load_sweep("ner_medical", [*QUICK, "space.rank=[8, 16]"]))
    assert any("ablation.factors.rank: 4, 32 left out" in note for note in notes)


def test_that_full_fine_tuning_cannot_be_is_known_beforehand():
    wanted = [*QUICK, "baselines.full=true"]
    assert checks.check_sweep(load_sweep("ner_medical", wanted)) == ()
    (note,) = checks.check_sweep(load_sweep("ner_medical", [*wanted, "model.dtype=bfloat16"]))
    assert note.endswith(
        "full fine-tuning is left out, for model.dtype: bfloat16 cannot be trained"
    )


@pytest.fixture
def tagged(tmp_path):
    """A sweep of the toy task, its entities tagged, on an encoder."""
    task, model = toy_tags.save_task(tmp_path / "task"), toy_tags.save_encoder(tmp_path / "model")
    return [f"task={task}/", f"model.name={model}", "space.target_modules=[qv]", "space.rank=[4]"]


def test_a_head_counts_and_the_bare_base_is_not_scored(tagged):
    sweep = load_sweep("ner_medical", tagged)
    told = "baselines.shots: the bare base is not scored, for its head is new"
    assert told in checks.check_sweep(sweep)
    assert told not in checks.check_sweep(
        load_sweep("ner_medical", [*tagged, "baselines.shots=[]"])
    )
    (config,) = checks.corner_configs(sweep)
    # q and v of two layers of width 32, and a head of five tags.
    wanted = 2 * 2 * 4 * (32 + 32) + 5 * 32 + 5
    assert checks.parameters(sweep, config) == wanted
    assert f"{wanted:,} to {wanted:,} trainable parameters" in checks.summary_lines(sweep)[1]


def test_a_model_that_cannot_have_the_head_is_told_beforehand(tagged, tmp_path):
    OPTConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="cannot be given a head for token classification"):
        checks.check_sweep(load_sweep("ner_medical", [*tagged, f"model.name={tmp_path}"]))


def test_an_encoder_cannot_write(tagged, tmp_path):
    written = [*tagged, f"task={toy.save_task(tmp_path / 'written')}/"]
    with pytest.raises(UserError, match="is not a causal language model"):
        checks.check_sweep(load_sweep("ner_medical", written))


def test_targets_that_match_nothing_are_told_with_their_key():
    with pytest.raises(UserError, match=r"space\.target_modules: .*'query'.*q_proj"):
        checks.check_sweep(load_sweep("ner_medical", [*QUICK, "space.target_modules=[qv, query]"]))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("space.layers=[all, [9]]", "space.layers: lora: this model has no layer 9, only 0 to 3"),
        (
            "space.modules_to_save=[[lm_hd]]",
            "space.modules_to_save: lora: 'lm_hd' is no module of this model",
        ),
        ("space.rank_pattern=[{q_prj: 4}]", "space.rank_pattern: lora: 'q_prj' is none of"),
    ],
)
def test_levels_that_the_model_does_not_have_are_told_with_their_key(override, told):
    with pytest.raises(UserError) as fault:
        checks.check_sweep(load_sweep("ner_medical", [*QUICK, override]))
    assert told in str(fault.value)


def test_facts_give_sizes_and_the_range_of_parameters():
    # 4 layers, width 192: q of rank 1 has 4 * (192 + 192) parameters.
    task, model = checks.summary_lines(load_sweep("ner_medical", QUICK))
    assert "8 train, 8 validation, 8 test examples" in task
    assert "margin 2 points of F1" in task
    assert "1,536 to" in model
    sample = Path(__file__).parents[3] / "tasks" / "mts_dialog" / "sample"
    task, _ = checks.summary_lines(load_sweep("mts_dialog", [*QUICK, f"data.folder={sample}"]))
    assert task.endswith("margin 1 point of ROUGE-L")


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
    wanted = tmp_path / "a" / "b"
    assert checks.check_folder(wanted) == tmp_path
    assert not wanted.exists()


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "taken"
    file.write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written to"):
        checks.check_folder(Path(file) / "study")


def leaking(folder: Path) -> str:
    """A task with two leaking rows; answers its folder."""
    write_rows(folder, "train", [pair_row(f"t-{n}", "o", f"text {n}") for n in range(4)])
    write_rows(
        folder, "validation", [pair_row("v-0", "o", "Text  1"), pair_row("v-1", "o", "other")]
    )
    write_rows(folder, "test", [pair_row("e-0", "o", "text 2"), pair_row("e-1", "o", "new")])
    return write_task(folder, "pairs")


def test_inputs_in_two_splits_stop_a_sweep(tmp_path):
    wanted = [f"task={leaking(tmp_path)}"]
    with pytest.raises(UserError) as fault:
        checks.check_sweep(load_sweep("ner_medical", wanted))
    assert str(fault.value) == (
        "2 inputs occur in more than one split (1 of validation in train, 1 of test in train), "
        "such as v-0 (validation) and t-1 (train), e-0 (test) and t-2 (train): scores on them "
        f"would be too good; take them out of one split, say data.leaks: drop in {tmp_path}"
        "/task.yaml to train without them, or run with --allow-leaks, which the report tells"
    )
    notes = checks.check_sweep(load_sweep("ner_medical", [*wanted, "data.allow_leaks=true"]))
    assert notes[0].startswith("2 inputs occur in more than one split")
    assert notes[0].endswith("scores on them are inflated")


def test_leaks_are_counted_by_split(tmp_path):
    place = leaking(tmp_path)
    task = load_task_for(load_sweep("ner_medical", [f"task={place}"]))
    assert checks.leaked(task) == {"validation": 1, "test": 1}
    assert checks.leaked(load_task_for(load_sweep("ner_medical", QUICK))) == {}


def test_the_same_input_twice_in_one_split_stops_nothing(tmp_path):
    place = leaking(tmp_path)
    write_rows(tmp_path, "train", [pair_row(f"t-{n}", "o", "the same") for n in range(4)])
    assert checks.check_sweep(load_sweep("ner_medical", [f"task={place}"])) == ()


def test_a_metric_that_raises_is_told_before_a_model_is_asked(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import datasets\nimport evaluate\n\n\nclass Mine(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        value = datasets.Value('string')\n"
        "        features = datasets.Features({'predictions': value, 'references': value})\n"
        "        return evaluate.MetricInfo(\n"
        "            description='', citation='', inputs_description='', features=features)\n\n"
        "    def _compute(self, predictions, references):\n"
        "        raise KeyError('no model here')\n"
    )
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [pair_row(f"{split}-0", "o", f"text of {split}")])
    place = write_task(tmp_path, "pairs")
    file = tmp_path / "task.yaml"
    text = file.read_text()
    assert "rougeL" in text
    file.write_text(text.replace("rougeL", "evaluate:./mine.py"))
    with pytest.raises(UserError, match=r"evaluate:\./mine\.py: raised KeyError: 'no model here'"):
        checks.check_sweep(load_sweep("ner_medical", [f"task={place}"]))
