import os
from pathlib import Path

import pytest
from transformers import OPTConfig

from harness.config.sweep import Sweep, load_sweep, parse_sweep
from harness.errors import UserError
from harness.models import base_model
from harness.study import checks
from harness.study.checks import data_card_of
from harness.tasks.data_card import DataCard
from harness.tasks.task import load_task_for
from harness.training.tokenization import TokenizedTask
from tests import toy, toy_tags
from tests.task_folders import PROMPTS, pair_row, write_rows, write_task

QUICK = ["data.limit=8"]
SHARED = Path(
    os.environ.get("HARNESS_SHARED_DATA")
    or Path(__file__).resolve().parents[4] / "shared" / "data"
)


def checked(sweep: Sweep) -> tuple[str, ...]:
    """Notes on a sweep, checked with its own task."""
    return checks.check_sweep(sweep, load_task_for(sweep))


def summary(sweep: Sweep) -> tuple[str, ...]:
    """What a sweep with its own task is about."""
    return checks.summary_lines(sweep, load_task_for(sweep))


def test_a_sound_sweep_has_nothing_to_say():
    assert checked(load_sweep("ner_medical", QUICK)) == ()


def test_ablation_levels_that_the_space_lacks_are_named():
    notes = checked(load_sweep("ner_medical", [*QUICK, "space.rank=[8, 16]"]))
    assert any("ablation.factors.rank: 4, 32 left out" in note for note in notes)


def test_an_empty_level_that_the_space_lacks_is_not_passed_over():
    (note,) = checked(load_sweep("ner_medical", [*QUICK, 'ablation.factors={variant: [""]}']))
    assert note.startswith("ablation.factors.variant:  left out")


def test_that_full_fine_tuning_cannot_be_is_known_beforehand():
    wanted = [*QUICK, "baselines.full=true"]
    assert checked(load_sweep("ner_medical", wanted)) == ()
    (note,) = checked(load_sweep("ner_medical", [*wanted, "model.dtype=bfloat16"]))
    assert note.endswith(
        "full fine-tuning is skipped, because model.dtype: bfloat16 cannot be trained"
    )


@pytest.fixture
def tagged(tmp_path):
    """A sweep of the toy task, its entities tagged, on an encoder."""
    task, model = toy_tags.save_task(tmp_path / "task"), toy_tags.save_encoder(tmp_path / "model")
    return [f"task={task}/", f"model.name={model}", "space.target_modules=[qv]", "space.rank=[4]"]


def test_a_head_counts_and_the_bare_base_is_not_scored(tagged):
    sweep = load_sweep("ner_medical", tagged)
    told = "baselines.shots: the base model is not scored, because its head is untrained"
    assert told in checked(sweep)
    assert told not in checked(load_sweep("ner_medical", [*tagged, "baselines.shots=[]"]))
    (config,) = checks.corner_configs(sweep)
    # q and v of two layers of width 32, and a head of five tags.
    wanted = 2 * 2 * 4 * (32 + 32) + 5 * 32 + 5
    assert checks.parameters(sweep, load_task_for(sweep), config) == wanted
    assert f"{wanted:,} to {wanted:,} trainable parameters" in summary(sweep)[1]


def test_a_model_that_cannot_have_the_head_is_told_beforehand(tagged, tmp_path):
    OPTConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="cannot be given a head for token classification"):
        checked(load_sweep("ner_medical", [*tagged, f"model.name={tmp_path}"]))


def test_an_encoder_cannot_write(tagged, tmp_path):
    written = [*tagged, f"task={toy.save_task(tmp_path / 'written')}/"]
    with pytest.raises(UserError, match="is not a causal language model"):
        checked(load_sweep("ner_medical", written))


def test_targets_that_match_nothing_are_told_with_their_key():
    with pytest.raises(UserError, match=r"space\.target_modules: .*'query'.*q_proj"):
        checked(load_sweep("ner_medical", [*QUICK, "space.target_modules=[qv, query]"]))


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
        checked(load_sweep("ner_medical", [*QUICK, override]))
    assert told in str(fault.value)


def test_facts_give_sizes_and_the_range_of_parameters():
    # 4 layers, width 192: q of rank 1 has 4 * (192 + 192) parameters.
    task, model = summary(load_sweep("ner_medical", QUICK))
    assert "8 train, 8 validation, 8 test examples" in task
    assert "margin 2 points of F1" in task
    assert "1,536 to" in model
    sample = Path(__file__).parents[3] / "tasks" / "mts_dialog" / "sample"
    task, _ = summary(load_sweep("mts_dialog", [*QUICK, f"data.folder={sample}"]))
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
        checked(load_sweep("ner_medical", wanted))
    assert str(fault.value) == (
        "2 inputs occur in more than one split (1 of validation in train, 1 of test in train), "
        "such as v-0 (validation) and t-1 (train), e-0 (test) and t-2 (train): scores on them "
        f"would be inflated; remove them from one split, set data.leaks: drop in {tmp_path}"
        "/task.yaml to train without them, or run with --allow-leaks (the report will say so)"
    )
    notes = checked(load_sweep("ner_medical", [*wanted, "data.allow_leaks=true"]))
    assert notes[0].startswith("2 inputs occur in more than one split")
    assert notes[0].endswith("scores on them are inflated")


def test_leaks_are_counted_by_split(tmp_path):
    place = leaking(tmp_path)
    task = load_task_for(load_sweep("ner_medical", [f"task={place}"]))
    assert checks.count_leaks(task) == {"validation": 1, "test": 1}
    assert checks.count_leaks(load_task_for(load_sweep("ner_medical", QUICK))) == {}


def test_the_same_input_twice_in_one_split_stops_nothing(tmp_path):
    place = leaking(tmp_path)
    write_rows(tmp_path, "train", [pair_row(f"t-{n}", "o", "the same") for n in range(4)])
    assert checked(load_sweep("ner_medical", [f"task={place}"])) == ()


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
        checked(load_sweep("ner_medical", [f"task={place}"]))


def card_of(sweep: Sweep) -> DataCard:
    """The card of a sweep with its own task."""
    return data_card_of(sweep, load_task_for(sweep))


def sweep_of(place: str, **training: object) -> Sweep:
    return parse_sweep({"task": place, "training": {"epochs": 1, **training}}, "test")


def test_the_shipped_task_has_nothing_worse_than_near_repetitions() -> None:
    card = card_of(load_sweep("ner_medical", ["data.limit=60"]))
    assert [one.rows for one in card.counts] == [60, 60, 60]
    assert not any(one.exact for one in card.duplicates)
    assert (card.empty, card.overlong, card.contradictions, card.too_long) == ((), (), (), ())
    (floor,) = card.baselines
    assert floor.name == "dictionary"
    assert 10 < floor.value < 90


@pytest.mark.parametrize("length", [30, 34, 384])
def test_it_knows_what_training_cuts_and_leaves_out(length: int, tmp_path: Path) -> None:
    sizes = (1, 5, 9, 20)
    for split in ("train", "validation", "test"):
        rows = [
            pair_row(f"{split}-{n}-{m}", "word " * m, f"{split} {m}" + " word" * n)
            for n in sizes
            for m in sizes
        ]
        write_rows(tmp_path, split, rows)
    sweep = sweep_of(write_task(tmp_path, "pairs", max_new_tokens=12), max_length=length)
    card = card_of(sweep)
    tokens = TokenizedTask(base_model.load(sweep.model), load_task_for(sweep), length).training()
    assert len(card.too_long) == tokens.left_out
    assert round(16 * card.lengths[0].cut_share) == tokens.cut + tokens.left_out
    assert card.lengths[0].what == "prompt"
    assert {place.split for place in card.overlong} == {"train", "validation", "test"}


def test_a_choice_has_the_room_of_its_longest_class_and_writes_nothing(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        rows = [pair_row(f"{split}-{n}", "yes" if n % 2 else "no idea at all") for n in range(4)]
        write_rows(tmp_path, split, rows)
    card = card_of(sweep_of(write_task(tmp_path, "choice")))
    assert card.limits.max_new_tokens is None
    assert card.limits.prompt_room is not None
    longest = max(one.longest for one in card.lengths if one.what == "answer")
    assert card.limits.prompt_room + longest + card.limits.special_tokens == 1024
    assert {one.name: one.rows for one in card.classes} == {
        "yes": (2, 2, 2),
        "no idea at all": (2, 2, 2),
    }
    assert [(one.name, one.value) for one in card.baselines] == [("most_frequent", 50.0)]


def test_worked_examples_count_as_prompt(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        write_rows(tmp_path, split, [pair_row(f"{split}-{n}", "out") for n in range(4)])
    plain, shown = (
        card_of(sweep_of(write_task(tmp_path, "pairs", shots=shots))) for shots in (0, 2)
    )
    assert shown.lengths[0].median > 2 * plain.lengths[0].median


def test_public_data_are_looked_at_in_one_go(tmp_path: Path) -> None:
    place = SHARED / "banking77"
    if not place.is_dir():
        pytest.skip(f"no public data at {place}; set HARNESS_SHARED_DATA")
    keys = {"folder": str(place)}
    card = card_of(sweep_of(write_task(tmp_path, "choice", data=keys, prompt=PROMPTS["choice"])))
    assert sum(one.rows for one in card.counts) == 8978 + 994
    assert len(card.classes) == 77
    for one in card.classes:
        whole = one.rows[0] + one.rows[2]
        assert one.rows[2] == pytest.approx(0.2 * whole, abs=0.51)
    assert not any(one.exact for one in card.duplicates)
    near = {(one.split, one.other_split): one.near for one in card.duplicates}
    assert near["test", "train"] > 10
