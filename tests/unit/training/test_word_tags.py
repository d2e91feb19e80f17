"""What is read of the tags of a word's tokens."""

import math
import random
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from harness.data.tagging import spans, tags_of
from harness.training import token_classification as word_tags

LABELS = tags_of(("A", "B-2"))


def said(*tokens: dict[str, float]) -> np.ndarray:
    """Probabilities; what is not named shares the rest."""
    rows = []
    for each in tokens:
        rest = (1 - sum(each.values())) / (len(LABELS) - len(each))
        rows.append([math.log(each.get(label, rest)) for label in LABELS])
    return np.array(rows, dtype=np.float32)


def drawn(draw: random.Random, tokens: int) -> np.ndarray:
    logits = np.array([[draw.gauss(0, 2) for _ in LABELS] for _ in range(tokens)])
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def likeliest(likely: np.ndarray) -> tuple[str, ...]:
    """By trying whatever one word may say."""
    size = len(likely)
    ways = [("O",) * size]
    for label in ("A", "B-2"):
        ways += [(f"{first}-{label}", *[f"I-{label}"] * (size - 1)) for first in "BI"]
    number = {label: place for place, label in enumerate(LABELS)}
    return max(ways, key=lambda way: sum(likely[at, number[tag]] for at, tag in enumerate(way)))


def test_one_part_that_errs_is_overruled_by_the_others() -> None:
    likely = said({"B-A": 0.9}, {"O": 0.5, "I-A": 0.4}, {"I-A": 0.8})
    assert word_tags.read(likely, [0], LABELS) == ["B-A", "I-A", "I-A"]
    assert word_tags.read(likely, [0, 1, 2], LABELS) == ["B-A", "O", "I-A"]


def test_a_word_goes_on_where_that_is_likelier_than_beginning() -> None:
    likely = said({"B-A": 0.9}, {"I-A": 0.6, "B-A": 0.3}, {"I-A": 0.9})
    assert word_tags.read(likely, [0, 1], LABELS) == ["B-A", "I-A", "I-A"]


def test_a_word_never_begins_twice_inside_itself() -> None:
    likely = said({"B-A": 0.9}, {"B-A": 0.9}, {"B-A": 0.9})
    assert word_tags.read(likely, [0], LABELS) == ["B-A", "I-A", "I-A"]
    assert word_tags.read(likely, [0, 1], LABELS) == ["B-A", "B-A", "I-A"]


def test_labels_with_hyphens_stay_whole() -> None:
    likely = said({"B-B-2": 0.9}, {"O": 0.5, "I-B-2": 0.4})
    assert word_tags.read(likely, [0], LABELS) == ["B-B-2", "I-B-2"]


def test_nothing_is_read_off_nothing() -> None:
    assert word_tags.read(np.empty((0, len(LABELS))), [], LABELS) == []


@pytest.mark.parametrize("seed", range(20))
def test_each_word_says_the_likeliest_of_what_it_may_say(seed: int) -> None:
    draw = random.Random(seed)
    sizes = [draw.randint(1, 4) for _ in range(12)]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    likely = drawn(draw, sum(sizes))
    found = word_tags.read(likely, starts, LABELS)
    for start, size in zip(starts, sizes, strict=True):
        assert tuple(found[start : start + size]) == likeliest(likely[start : start + size])


@pytest.mark.parametrize("seed", range(5))
def test_words_of_one_token_have_their_likeliest_tag(seed: int) -> None:
    likely = drawn(random.Random(seed), 30)
    wanted = [LABELS[place] for place in likely.argmax(axis=1)]
    assert word_tags.read(likely, range(30), LABELS) == wanted


def edges(tagged: Sequence[str]) -> set[int]:
    places = [(place, place + 1) for place in range(len(tagged))]
    return {at for one in spans(tagged, places, "x" * len(tagged)) for at in one[:2]}


def test_no_entity_begins_or_ends_inside_a_word() -> None:
    draw = random.Random(1)
    for words in product([1, 2, 3], repeat=4):
        starts = [sum(words[:place]) for place in range(4)]
        found = word_tags.read(drawn(draw, sum(words)), starts, LABELS)
        assert edges(found) <= {*starts, sum(words)}
