from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from types import ModuleType
from typing import Any

import pytest
from transformers import AutoTokenizer

from harness import embedded
from harness.data.rows import find_leaks, fingerprint
from harness.embedded.recipe import vocabulary
from harness.tasks.sources import load_module
from harness.tasks.task import SPLITS, Task, load_task

SEED = 20262
PLACE = re.compile(r"\[[^]|]*\|[^]|]*\]")
SLOT = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("perplexity_medical")


@pytest.fixture(scope="module")
def generator(task: Task) -> ModuleType:
    return load_module(task.folder / "generate.py")


@pytest.fixture(scope="module")
def names(generator: ModuleType) -> dict[str, list[str]]:
    """All names of the vocabulary by the split that they belong to, case-folded."""
    found: dict[str, list[str]] = {}
    for split in SPLITS:
        operations = [
            each
            for family in generator.vocabulary.OPERATIONS.values()
            for operation in family[split]
            for each in (*operation[:3], *operation.diagnoses)
        ]
        lists = [name for parts in generator.vocabulary.LISTS.values() for name in parts[split]]
        found[split] = list(dict.fromkeys(name.casefold() for name in operations + lists))
    return found


@pytest.fixture(scope="module")
def sentences(generator: ModuleType) -> dict[str, list[str]]:
    """Every sentence of every split, slots unfilled."""
    phrases = generator.phrases
    parts = [phrases.BEGINNING, *phrases.STEPS.values(), phrases.ENDING]
    return {
        split: [one for part in parts for each in phrases.sentences(part, split) for one in each]
        for split in SPLITS
    }


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(str(embedded.path("tiny")))


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


def plain(sentence: str) -> str:
    """A sentence without its slots' names, case, white space and final mark."""
    return " ".join(SLOT.sub("{}", sentence).casefold().split()).strip(" .;,")


def test_the_vocabulary_is_large_and_every_slot_is_filled(
    generator: ModuleType, names: dict[str, list[str]], sentences: dict[str, list[str]]
) -> None:
    assert sum(len(each) for each in names.values()) >= 600
    known = {*generator.vocabulary.LISTS, *generator.vocabulary.NUMBERS, "organ", "tissue"}
    slots = {slot for each in sentences.values() for one in each for slot in SLOT.findall(one)}
    assert slots <= known
    assert set(generator.vocabulary.NUMBERS) <= slots
    assert set(generator.vocabulary.LISTS) - {"anesthesia"} <= slots
    assert set(generator.vocabulary.OPERATIONS) == set(generator.phrases.STEPS)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_held_out_name_neither_holds_nor_stands_in_another_splits_name(
    names: dict[str, list[str]], split: str
) -> None:
    others = {name for other in SPLITS if other != split for name in names[other]}
    others |= set(base_names())
    clashes = [(n, o) for n in names[split] for o in others if holds(n, o) or holds(o, n)]
    assert clashes == []


def test_no_held_out_name_stands_in_a_training_report(
    task: Task, names: dict[str, list[str]]
) -> None:
    text = "\n".join(row.text for row in task.rows("train"))
    assert [n for n in names["validation"] + names["test"] if holds(text, n)] == []


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_third_of_the_names_are_new_and_most_reports_have_one(
    generator: ModuleType, task: Task, names: dict[str, list[str]], split: str
) -> None:
    drawn = [
        [name.casefold() in names[split] for name in each.names]
        for each in generator.reports(split, len(task.rows(split)), SEED)
    ]
    flat = [new for each in drawn for new in each]
    assert 0.3 < sum(flat) / len(flat) < 0.4
    assert sum(any(each) for each in drawn) / len(drawn) > 0.9


def test_every_pattern_has_two_places_and_no_sentence_stands_in_two_splits(
    generator: ModuleType, sentences: dict[str, list[str]]
) -> None:
    phrases = generator.phrases
    for pattern in (*phrases.BEGINNING, *sum(phrases.STEPS.values(), ()), *phrases.ENDING):
        assert len(PLACE.findall(pattern)) == pattern.count("[") == 2, pattern
    plains = {split: {plain(one) for one in each} for split, each in sentences.items()}
    assert len(plains["train"]) == 2 * len(plains["test"]) == 2 * len(plains["validation"])
    for one, other in combinations(SPLITS, 2):
        assert plains[one] & plains[other] == set()
    assert {wording[0] for wording in phrases.WORDINGS["train"]} == {0, 1}
    assert {wording[1] for wording in phrases.WORDINGS["train"]} == {0, 1}


def test_nothing_of_a_report_is_a_frame_of_the_base_models_training(
    sentences: dict[str, list[str]],
) -> None:
    from harness.embedded.recipe.documents import FRAMES

    mine = {plain(one) for each in sentences.values() for one in each}
    assert mine & {plain(frame) for frame in FRAMES} == set()
    corpus = " ".join(FRAMES)
    assert not [head for head in ("OP:", "DX:", "ANES:", "ABX:", "EBL") if head in corpus]


@pytest.mark.parametrize("split", SPLITS)
def test_a_report_has_five_lines_and_speaks_of_one_operation(
    generator: ModuleType, task: Task, split: str
) -> None:
    by_name = {
        operation.name: operation
        for family in generator.vocabulary.OPERATIONS.values()
        for part in family.values()
        for operation in part
    }
    for row in task.rows(split):
        lines = row.text.split("\n")
        assert [line.partition(":")[0] for line in lines[:3]] == ["OP", "DX", "ANES"]
        assert len(lines) == 5
        assert all(line.endswith(".") for line in lines[3:])
        name, _, side = lines[0].removeprefix("OP: ").partition(", ")
        diagnosis, _, other_side = lines[1].removeprefix("DX: ").partition(", ")
        assert side == other_side
        assert diagnosis in by_name[name].diagnoses
        drugs = {
            drug
            for part in generator.vocabulary.LISTS["drug"].values()
            for drug in part
            if drug in row.text
        }
        if "ABX" in lines[2]:
            assert len(drugs) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_every_sentence_is_written_and_filled(
    generator: ModuleType, sentences: dict[str, list[str]], split: str
) -> None:
    text = "\n".join(row["text"] for row in generator.generate(split, 2500, 1))
    assert "{" not in text
    assert "}" not in text
    for sentence in sentences[split]:
        start = sentence[0].upper() if sentence[0] != "{" else "{"
        body = "[^.\n].*".join(re.escape(p) for p in SLOT.split(start + sentence[1:])[::2])
        assert re.search(body, text), sentence


@pytest.mark.parametrize("split", SPLITS)
def test_lengths_in_tokens_of_the_embedded_model(task: Task, tokenizer: Any, split: str) -> None:
    texts = [row.text for row in task.rows(split)]
    found = tokenizer(texts, add_special_tokens=False)["input_ids"]
    for text, ids in zip(texts, found, strict=True):
        assert tokenizer.decode(ids) == text  # nothing is unknown to it
    lengths = [len(ids) for ids in found]
    assert 115 < sum(lengths) / len(lengths) < 140
    assert min(lengths) > 60
    assert max(lengths) < 180


def grams(text: str, size: int = 8) -> list[tuple[str, ...]]:
    found = text.split()
    return [tuple(found[place : place + size]) for place in range(len(found) - size + 1)]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_reports_are_no_near_copies_of_training(task: Task, split: str) -> None:
    known = {gram for row in task.rows("train") for gram in grams(row.text)}
    shares = []
    for row in task.rows(split):
        mine = grams(row.text)
        shares.append(sum(gram in known for gram in mine) / len(mine))
    assert max(shares) < 1 / 3
    assert sum(shares) / len(shares) < 0.05


def test_no_report_stands_twice(task: Task) -> None:
    assert find_leaks({split: task.rows(split) for split in SPLITS}) == ()
    for split in SPLITS:
        assert len({row.text for row in task.rows(split)}) == len(task.rows(split))


def test_the_seed_decides_and_a_smaller_count_is_a_part_of_a_larger(generator: ModuleType) -> None:
    assert generator.generate("test", 40, 5) == generator.generate("test", 60, 5)[:40]
    assert generator.generate("test", 40, 5) != generator.generate("test", 40, 6)


def test_the_reports_are_the_same_everywhere(task: Task) -> None:
    pinned = {
        "train": "7a9b821ac993ff43e64b8617ae72c2238f5049e46c4cdce08c1dc03e9b5b1b34",
        "validation": "104a1e1e65fb03194034424924700b3c4482e01c17de4e84661ea033ff35f712",
        "test": "106cbeacd744a40506bb3c07379b57af76695fc74eeab4ea2874f85ed5a2172b",
    }
    assert [len(task.rows(split)) for split in SPLITS] == [600, 200, 500]
    assert {split: fingerprint(task.rows(split)) for split in SPLITS} == pinned


def test_some_gives_every_choice_alike_and_in_order(generator: ModuleType) -> None:
    writer = generator._Writer(random.Random(3), "train")
    found = Counter(tuple(writer.some(2, "abcd")) for _ in range(3000))
    assert set(found) == set(combinations("abcd", 2))
    assert min(found.values()) > 400
    assert writer.nats == pytest.approx(3000 * math.log(6))


def perplexity_of_counts(
    train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], order: int, size: int
) -> float:
    """Of counts of token runs (Witten and Bell 1991: what was new before is as likely again)."""
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids in train:
        for place in range(1, len(ids)):
            for length in range(min(order, place + 1)):
                after[tuple(ids[place - length : place])][ids[place]] += 1

    def share(context: tuple[int, ...], token: int) -> float:
        below = share(context[1:], token) if context else 1 / size
        seen = after.get(context)
        if not seen:
            return below
        return (seen[token] + len(seen) * below) / (seen.total() + len(seen))

    nats = [
        -math.log(share(tuple(ids[max(0, place - order + 1) : place]), ids[place]))
        for ids in test
        for place in range(1, len(ids))
    ]
    return math.exp(sum(nats) / len(nats))


def test_counts_of_training_tokens_are_a_floor_and_no_solution(
    generator: ModuleType, task: Task, tokenizer: Any
) -> None:
    train, test = (
        [
            [tokenizer.bos_token_id, *ids]
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]
        ]
        for texts in ([row.text for row in task.rows(split)] for split in ("train", "test"))
    )
    counted = {n: perplexity_of_counts(train, test, n, len(tokenizer)) for n in (1, 3)}
    assert counted[1] == pytest.approx(245.7, abs=0.1)  # README.md has these figures
    assert counted[3] == pytest.approx(10.16, abs=0.01)
    nats = sum(each.nats for each in generator.reports("test", len(test), SEED))
    known = math.exp(nats / sum(len(ids) - 1 for ids in test))
    assert known == pytest.approx(1.348, abs=0.001)
