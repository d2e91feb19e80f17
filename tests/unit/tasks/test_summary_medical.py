from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from types import ModuleType

import pytest
from transformers import AutoTokenizer

from harness import embedded
from harness.data.rows import find_leaks, fingerprint
from harness.embedded.recipe import vocabulary
from harness.tasks.sources import load_module
from harness.tasks.task import SPLITS, Task, load_task

KINDS = (
    "PAIRED", "SINGLE", "SYMPTOMS", "SIGNS", "HISTORY", "DRUGS", "TESTS", "CLINICS", "WORSE",
    "BETTER", "SURNAMES",
)  # fmt: skip
SEED = 20261
PLACE = re.compile(r"\[[^]|]*\|[^]|]*\]")
SLOT = re.compile(r"\{\w+\}")
#: Words of a note that are the house's own, not facts.
HOUSE = {
    "yo", "x", "hx", "takes", "allergic", "to", "plan", "review", "in", "refer", "worse", "better",
    "with", "no",
}  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("summary_medical")


@pytest.fixture(scope="module")
def generator(task: Task) -> ModuleType:
    return load_module(task.folder / "generate.py")


@pytest.fixture(scope="module")
def names(generator: ModuleType) -> dict[str, list[str]]:
    """All names of all kinds by the split that they belong to, as notes have them."""
    return {
        split: [
            generator._bare(name).casefold()
            for kind in KINDS
            for name in getattr(generator.vocabulary, kind)[split]
        ]
        for split in SPLITS
    }


def base_names() -> list[str]:
    """What the embedded base model met while it was trained, case-folded."""
    made = vocabulary.body_terms((*vocabulary.ILL, *vocabulary.EXAMINED))
    lists = (vocabulary.MEDICATIONS, vocabulary.CONDITIONS, vocabulary.PROCEDURES, made)
    return [name.casefold() for each in lists for name in each]


@cache
def words(text: str) -> str:
    """The words of a text, case-folded, each between blanks."""
    found = re.findall(r"[\w']+", text.casefold())
    return f" {' '.join(found)} "


def holds(text: str, name: str) -> bool:
    """Whether a name stands in a text, word for word."""
    return words(name) in words(text)


def plain(line: str) -> str:
    """A line without its slots' names, case, white space and final mark."""
    return " ".join(SLOT.sub("{}", line).casefold().split()).strip(" .;,?")


def test_no_name_stands_twice(names: dict[str, list[str]]) -> None:
    every = [name for split in SPLITS for name in names[split]]
    assert len(every) == len(set(every)) >= 450


def test_every_drug_has_doses_in_milligrams(generator: ModuleType) -> None:
    for part in generator.vocabulary.DRUGS.values():
        for name, doses in part.items():
            assert doses, name
            assert all(re.fullmatch(r"\d+(\.\d+)? mg", dose) for dose in doses), name


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_held_out_name_neither_holds_nor_stands_in_another_splits_name(
    names: dict[str, list[str]], split: str
) -> None:
    others = {name for other in SPLITS if other != split for name in names[other]}
    others |= set(base_names())
    clashes = [(n, o) for n in names[split] for o in others if holds(n, o) or holds(o, n)]
    assert clashes == []


def test_no_held_out_name_stands_in_a_training_row(
    task: Task, names: dict[str, list[str]]
) -> None:
    rows = task.rows("train")
    texts = "\n".join(f"{row.text}\n{row.output}".casefold() for row in rows)
    held = names["validation"] + names["test"]
    assert [name for name in held if holds(texts, name)] == []


@pytest.mark.parametrize("split", ["validation", "test"])
def test_more_than_half_of_the_names_in_notes_are_new(
    generator: ModuleType, task: Task, names: dict[str, list[str]], split: str
) -> None:
    visits = generator.visits(split, len(task.rows(split)), SEED)
    drawn = [generator._bare(name).casefold() for each in visits for name in each.names]
    new = sum(name in names[split] for name in drawn) / len(drawn)
    assert 0.5 < new < 0.7
    assert not set(drawn) - set(names[split]) - set(names["train"])


def test_every_pattern_has_two_places_and_training_shows_all_their_wordings(
    generator: ModuleType,
) -> None:
    phrases = generator.phrases
    for use, patterns in phrases.PATTERNS.items():
        for pattern in patterns:
            assert len(PLACE.findall(pattern)) == pattern.count("[") == 2, pattern
            for wording in ((0, 0), (1, 1), (0, 1), (1, 0)):
                made = phrases.line(pattern, wording)
                assert sum(made in phrases.LINES[split][use] for split in SPLITS) == 1, made
    for place in range(2):
        assert {wording[place] for wording in phrases.WORDINGS["train"]} == {0, 1}


def test_no_line_is_one_of_another_split_or_of_the_base_models_training(
    generator: ModuleType,
) -> None:
    from harness.embedded.recipe.documents import FRAMES

    lines = {
        split: {plain(line) for each in uses.values() for line in each}
        for split, uses in generator.phrases.LINES.items()
    }
    assert tuple(lines) == SPLITS
    for one, other in combinations(SPLITS, 2):
        assert lines[one] & lines[other] == set()
    assert set().union(*lines.values()) & {plain(frame) for frame in FRAMES} == set()


@pytest.mark.parametrize("split", SPLITS)
def test_every_line_is_said_and_filled(generator: ModuleType, split: str) -> None:
    talks = [row["input"] for row in generator.generate(split, 2000, 1)]
    seen = "\n".join(talks)
    assert "{" not in seen
    assert "}" not in seen
    for lines in generator.phrases.LINES[split].values():
        for line in lines:
            for part in line.split(" / "):
                body = ".+".join(re.escape(piece) for piece in SLOT.split(part))
                assert re.search(body, seen), part


@pytest.mark.parametrize("split", SPLITS)
def test_talks_are_turns_of_doctor_and_patient(task: Task, split: str) -> None:
    for row in task.rows(split):
        turns = row.text.split("\n")
        assert 5 <= len(turns) <= 8
        assert [turn[:3] for turn in turns] == [f"{'DP'[n % 2]}: " for n in range(len(turns))]


@pytest.mark.parametrize("split", SPLITS)
def test_every_fact_of_a_note_stands_in_its_talk(
    generator: ModuleType, task: Task, split: str
) -> None:
    """Word for word, but for what a body part does and for man or woman."""
    says = {noun: (does, did) for does, did, noun in generator.vocabulary.DOES}
    for row in task.rows(split):
        note, talk = str(row.output), row.text.casefold()
        for word in re.findall(r"[\w.'-]*[\w']", note.casefold()):
            if word in ("man", "woman"):
                assert (word == "man") == ("mr." in talk)
            elif word in says and not holds(talk, word):
                assert any(way in talk for way in says[word]), (word, talk)
            elif word == "10" and f"{word}." not in note:
                assert "10" in talk
            else:
                assert word in HOUSE or holds(talk, word), (word, row.output, talk)


@pytest.mark.parametrize("split", SPLITS)
def test_a_note_is_in_the_house_style(task: Task, split: str) -> None:
    style = re.compile(
        r"\d\d yo (man|woman), [^.]+ (x \d (days|weeks|months)|since \w+( \w+)?)"
        r"(, (worse|better with|with|no) [^.]+?|, \d/10)*\."
        r"( Hx [^.]+\.)?( Takes \S+ [\d.]+ mg\.)?( Allergic to \S+\.)? Plan: .+\."
    )
    for row in task.rows(split):
        assert style.fullmatch(str(row.output)), row.output
        assert 10 <= len(str(row.output).split()) <= 27


@pytest.mark.parametrize("split", SPLITS)
def test_what_was_put_right_or_is_anothers_is_not_in_the_note(
    generator: ModuleType, task: Task, split: str
) -> None:
    kinds = {"age": 0, "side": 0, "time": 0, "name": 0}
    visits = generator.visits(split, len(task.rows(split)), SEED)
    for talk, note, _, taken_back in visits:
        for said in taken_back:
            assert said in talk
            if said.isdigit():
                kinds["age"] += 1
                assert not note.startswith(f"{said} yo")
            elif said[0].isdigit():
                kinds["time"] += 1
                assert f" x {said}" not in note.partition(".")[0]
            else:
                kinds["side" if said.startswith(("left ", "right ")) else "name"] += 1
                assert not holds(note, said)
    assert min(kinds.values()) > len(visits) / 40
    assert 0.3 < sum(bool(each.taken_back) for each in visits) / len(visits) < 0.6


@pytest.mark.parametrize("split", SPLITS)
def test_lengths_in_tokens_of_the_embedded_model(task: Task, split: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(embedded.path("tiny")))

    def lengths(texts: Sequence[str]) -> list[int]:
        found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        for text, ids in zip(texts, found, strict=True):
            assert tokenizer.decode(ids) == text  # nothing is unknown to it
            assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
        return [len(ids) for ids in found]

    asked = lengths([task.prompt(example) for example in task.examples(split)])
    answered = lengths([task.target(example) for example in task.examples(split)])
    assert 95 < sum(asked) / len(asked) < 118
    assert max(asked) <= 175
    assert 35 < sum(answered) / len(answered) < 50
    assert max(answered) < task.max_new_tokens


def grams(text: str, size: int = 8) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[place : place + size]) for place in range(len(words) - size + 1)]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_talks_are_no_near_copies_of_training(task: Task, split: str) -> None:
    known = {gram for row in task.rows("train") for gram in grams(row.text)}
    shares = []
    for row in task.rows(split):
        mine = grams(row.text)
        shares.append(sum(gram in known for gram in mine) / len(mine))
    assert sum(share > 1 / 3 for share in shares) / len(shares) < 0.01
    assert sum(shares) / len(shares) < 0.1


def test_no_talk_stands_in_two_splits(task: Task) -> None:
    assert find_leaks({split: task.rows(split) for split in SPLITS}) == ()
    for split in SPLITS:
        assert len({row.text for row in task.rows(split)}) == len(task.rows(split))
    notes = {row.output for row in task.rows("train")}
    assert not notes & {row.output for row in task.rows("test")}


def test_the_seed_decides_and_a_smaller_count_is_a_part_of_a_larger(generator: ModuleType) -> None:
    assert generator.generate("test", 40, 5) == generator.generate("test", 60, 5)[:40]
    assert generator.generate("test", 40, 5) != generator.generate("test", 40, 6)


def test_the_rows_are_the_same_everywhere(task: Task) -> None:
    pinned = {
        "train": "b180c2ad48d763ac1a0f2bc13d17f8fd88502c2ba80c96d255e78e09fbbccd91",
        "validation": "7460171e6c2799e3a26daadf9594eb40c9da0b60318bf313fb05a7957aa1684d",
        "test": "b3bdd1b0679ebd228afa8826c4e19d1e344273e3eb2fcc463eaf786ba8d49c25",
    }
    assert [len(task.rows(split)) for split in SPLITS] == [600, 150, 400]
    assert {split: fingerprint(task.rows(split)) for split in SPLITS} == pinned


def test_copying_is_a_floor_and_no_solution(task: Task) -> None:
    examples = task.examples("test")
    floors = {
        name: task.evaluate(task.baseline_predictions(name, "test"), examples).values
        for name in ("copied_input", "first_sentence")
    }
    names = ("rougeL", "rouge1", "rouge2")
    found = {each: [round(values[n] * 100, 1) for n in names] for each, values in floors.items()}
    assert found == {  # README.md has these figures
        "copied_input": [35.4, 37.4, 16.4],
        "first_sentence": [3.3, 3.3, 0.0],
    }
    right = task.evaluate([example.reference for example in examples], examples)
    assert right.values["rougeL"] == 1.0
