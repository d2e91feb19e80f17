from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from types import ModuleType

import pytest

from harness.data.rows import Row, Span, find_leaks, fingerprint
from harness.tasks.sources import load_module
from harness.tasks.task import SPLITS, Task, load_task

CLASSES = {"MEDICATIONS": 150, "CONDITIONS": 200, "PROCEDURES": 120}
SLOT = re.compile(r"\{\w+\}")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ner_medical")


@pytest.fixture(scope="module")
def generator(task: Task) -> ModuleType:
    return load_module(task.folder / "generate.py")


@pytest.fixture(scope="module")
def names(generator: ModuleType) -> dict[str, list[str]]:
    """All names of all classes by the split that they belong to, case-folded."""
    return {
        split: [
            name.casefold()
            for kind in CLASSES
            for name in getattr(generator.vocabulary, kind)[split]
        ]
        for split in SPLITS
    }


def base_names() -> list[str]:
    """What the embedded base model met while it was trained, case-folded."""
    from harness.embedded.recipe import vocabulary

    made = vocabulary.body_terms((*vocabulary.ILL, *vocabulary.EXAMINED))
    lists = (vocabulary.MEDICATIONS, vocabulary.CONDITIONS, vocabulary.PROCEDURES, made)
    return [name.casefold() for each in lists for name in each]


def plain(frame: str) -> str:
    """A frame without its slots' names, case, white space and final mark."""
    return " ".join(SLOT.sub("{}", frame).casefold().split()).strip(" .;,")


def rows(generator: ModuleType, split: str, count: int, seed: int) -> list[Row]:
    return [
        Row(row["id"], row["text"], tuple(Span(**entity) for entity in row["entities"]))
        for row in generator.generate(split, count, seed)
    ]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_vocabulary_is_large_and_names_nothing_twice(generator: ModuleType, kind: str) -> None:
    each = [
        name.casefold() for part in getattr(generator.vocabulary, kind).values() for name in part
    ]
    assert len(each) == len(set(each)) >= CLASSES[kind]


def test_every_drug_has_doses_with_a_number_and_a_unit(generator: ModuleType) -> None:
    for part in generator.vocabulary.MEDICATIONS.values():
        for name, doses in part.items():
            assert doses, name
            for dose in doses:
                assert re.fullmatch(
                    r"\d+(\.\d+)? (mg|mcg|g|units|mL|mEq|mg/kg|mg/m2|units/kg)", dose
                )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_held_out_name_neither_contains_nor_is_part_of_another_splits_name(
    names: dict[str, list[str]], split: str
) -> None:
    others = {name for other in SPLITS if other != split for name in names[other]}
    others |= set(base_names())
    clashes = [(name, o) for name in names[split] for o in others if name in o or o in name]
    assert clashes == []


def test_no_held_out_name_stands_in_a_training_note(
    task: Task, names: dict[str, list[str]]
) -> None:
    texts = "\n".join(example.text.casefold() for example in task.examples("train"))
    held = names["validation"] + names["test"]
    assert [name for name in held if re.search(rf"\b{re.escape(name)}\b", texts)] == []


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("label", ["MEDICATION", "CONDITION", "PROCEDURE"])
def test_at_least_half_of_the_mentions_are_new(task: Task, split: str, label: str) -> None:
    flags = [
        flag
        for example in task.examples(split)
        for mention, flag in zip(
            example.reference, task.type.seen_in_training(example), strict=True
        )
        if mention.label == label
    ]
    assert 0.5 <= 1 - sum(flags) / len(flags) < 0.75


@pytest.mark.parametrize("split", ["validation", "test"])
def test_at_least_half_of_all_mentions_are_new_dosages_included(task: Task, split: str) -> None:
    flags = [
        flag for example in task.examples(split) for flag in task.type.seen_in_training(example)
    ]
    assert sum(flags) / len(flags) <= 0.5


def test_frames_are_several_dozen_and_no_split_has_one_of_another(generator: ModuleType) -> None:
    frames = {
        split: [plain(frame) for style in styles.values() for frame in style]
        for split, styles in generator.frames.FRAMES.items()
    }
    assert tuple(frames) == SPLITS
    for split, least in {"train": 56, "validation": 28, "test": 28}.items():
        assert len(frames[split]) == len(set(frames[split])) >= least
    assert not set(frames["train"]) & set(frames["validation"])
    assert not set(frames["train"]) & set(frames["test"])
    assert not set(frames["validation"]) & set(frames["test"])


def test_every_pattern_has_two_places_and_training_shows_all_their_wordings(
    generator: ModuleType,
) -> None:
    frames = generator.frames
    for style, patterns in frames.PATTERNS.items():
        for pattern in patterns:
            assert len(re.findall(r"\[[^]|]*\|[^]|]*\]", pattern)) == pattern.count("[") == 2
            for wording in ((0, 0), (1, 1), (0, 1), (1, 0)):
                assert (
                    sum(
                        frames.frame(pattern, wording) in frames.FRAMES[split][style]
                        for split in SPLITS
                    )
                    == 1
                )
    for place in range(2):
        assert {wording[place] for wording in frames.WORDINGS["train"]} == {0, 1}


def test_no_note_is_built_like_one_of_another_split(generator: ModuleType, task: Task) -> None:
    """Read from the notes: what is left without entities, numbers and other fillers."""
    fillers = [word for words in generator._PLAIN.values() for word in words]
    fillers = sorted([*fillers, "patient", "man", "woman", "gentleman", "lady"], key=len)[::-1]

    def built(row: Row) -> str:
        text = row.text
        for entity in reversed(row.entities):
            text = f"{text[: entity.start]}{{}}{text[entity.end :]}"
        text = re.sub("|".join(rf"\b{re.escape(word)}\b" for word in fillers), "_", text)
        return re.sub(r"\d+", "0", text)

    found = {
        split: {built(row) for row in rows(generator, split, len(task.examples(split)), 20260)}
        for split in SPLITS
    }
    assert min(len(each) for each in found.values()) > 50
    for one, other in combinations(SPLITS, 2):
        assert found[one] & found[other] == set()


def test_no_frame_is_one_that_the_base_model_was_trained_on(generator: ModuleType) -> None:
    from harness.embedded.recipe.documents import FRAMES

    mine = {
        plain(frame)
        for styles in generator.frames.FRAMES.values()
        for style in styles.values()
        for frame in style
    }
    assert mine & {plain(frame) for frame in FRAMES} == set()


def test_quiet_frames_have_no_entity_and_all_others_have_one(generator: ModuleType) -> None:
    entity = re.compile(r"\{[MDECP]\d\}")
    for styles in generator.frames.FRAMES.values():
        for style, frames in styles.items():
            for frame in frames:
                assert bool(entity.search(frame)) != style.startswith("quiet"), frame


@pytest.mark.parametrize("split", SPLITS)
def test_every_frame_can_be_filled(generator: ModuleType, split: str) -> None:
    seen = " ".join(row["text"] for row in generator.generate(split, 3000, 1))
    assert "{" not in seen
    assert "}" not in seen


@pytest.mark.parametrize("split", SPLITS)
def test_offsets_hold_and_no_entity_lies_in_another(generator: ModuleType, split: str) -> None:
    for row in rows(generator, split, 500, 3):
        end = 0
        for entity in row.entities:
            assert row.text[entity.start : entity.end] == entity.text
            assert entity.start >= end
            end = entity.end


def test_sizes_and_lengths(task: Task) -> None:
    assert [len(task.examples(split)) for split in SPLITS] == [600, 200, 600]
    for split in SPLITS:
        words = [len(example.text.split()) for example in task.examples(split)]
        assert 9 < sum(words) / len(words) < 13
        assert max(words) <= 50


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_is_absent_from_many_notes_and_frequent_in_all(task: Task, split: str) -> None:
    examples = task.examples(split)
    for label in task.labels:
        with_label = sum(any(m.label == label for m in one.reference) for one in examples)
        assert 0.3 < with_label / len(examples) < 0.9
    assert any(not example.reference for example in examples)
    counts = Counter(m.label for example in examples for m in example.reference)
    assert min(counts.values()) / counts.total() > 0.15


def test_dosages_are_written_with_and_without_a_blank(task: Task) -> None:
    doses = [m.text for one in task.examples("test") for m in one.reference if m.label == "DOSAGE"]
    tight = sum(" " not in dose for dose in doses)
    assert 0.03 < tight / len(doses) < 0.3


def test_numbers_with_units_that_are_no_dosage_stand_in_the_notes(task: Task) -> None:
    laboratory = [one for one in task.examples("test") if "mg/dL" in one.text]
    assert len(laboratory) > 15
    assert not any(m.text.endswith("dL") for one in laboratory for m in one.reference)


def test_no_text_stands_in_two_splits(generator: ModuleType) -> None:
    found = {split: rows(generator, split, 600, 0) for split in SPLITS}
    assert find_leaks(found) == ()
    for each in found.values():
        assert len({row.text for row in each}) == len(each)


def test_the_seed_decides_and_a_smaller_count_is_a_part_of_a_larger(generator: ModuleType) -> None:
    assert generator.generate("test", 40, 5) == generator.generate("test", 60, 5)[:40]
    assert generator.generate("test", 40, 5) != generator.generate("test", 40, 6)


def test_the_notes_are_the_same_everywhere(generator: ModuleType, task: Task) -> None:
    pinned = {
        "train": "74bc3ed460bbc62c9cb62b30bb27b97862f26274712e36aac58bd552ca314326",
        "validation": "8669ed82ee93681b6204af1f67a1ec293cef16ffed74ded817ccb0f085917d12",
        "test": "5d71b1b6e8acfb08c85f57d04a5072cff6aa148370b2c839fc9fc6a3cf7b358e",
    }
    assert {
        split: fingerprint(rows(generator, split, len(task.examples(split)), 20260))
        for split in SPLITS
    } == pinned


def test_a_dictionary_of_training_entities_is_a_floor_and_no_solution(task: Task) -> None:
    examples = task.examples("test")
    found = task.baseline_predictions("dictionary", "test")
    values = task.values([task.score(*pair) for pair in zip(found, examples, strict=True)])
    assert 0.5 < values["entity_f1"] < 0.68
    assert values["precision"] > 0.95
