"""Texts as tagged tokens: which are learnt, in which window, and what the user is told.

Windows over a long text: all of it is seen, each token read where it has most around it.

What is read of the tags of a word's tokens.
"""

import json
import math
import random
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from harness.config.settings import ModelSettings, TrainingSettings
from harness.data import tagging
from harness.data.rows import Span
from harness.data.tagging import all_tags, tags_to_spans
from harness.errors import UserError
from harness.models import base_model
from harness.models.base_model import BaseModel
from harness.models.batches import IGNORED
from harness.tasks.task import Task, load_task
from harness.training import token_classification
from harness.training.token_classification import OVERLAP, TextTagger, Window, windows
from harness.training.tokenization import TokenizedTask, token_notes
from tests import toy, toy_tags


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return toy_tags.load_task(tmp_path_factory.mktemp("tagged"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, task: Task) -> BaseModel:
    folder = toy_tags.save_encoder(tmp_path_factory.mktemp("encoder"))
    return base_model.load(ModelSettings(name=str(folder)), 1, task.type.head)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory, task: Task) -> BaseModel:
    folder = toy.save_model(tmp_path_factory.mktemp("causal"))
    return base_model.load(ModelSettings(name=str(folder)), 1, task.type.head)


def task_of(folder: Path, text: str, *entities: tuple[int, int, str]) -> Task:
    """The toy task with one note."""
    toy_tags.save_task(folder)
    spans = [{"start": a, "end": b, "label": label} for a, b, label in entities]
    row = json.dumps({"id": "one", "text": text, "entities": spans})
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(row, encoding="utf-8")
    return load_task(f"{folder}/")


def read_off(base: BaseModel, task: Task, length: int | None = None) -> list[tuple[Span, ...]]:
    """The entities of each training text, read from the tags that are learnt."""
    tagger = TextTagger(base, task, length)
    examples = task.examples("train")
    parts = iter(tagger.tokenize_training(examples)[0])
    labels = task.type.head.labels
    entities = []
    for text, example in zip(tagger.tokenize(examples), examples, strict=True):
        sequences = [next(parts) for _ in text.parts]
        tags = [labels[tag] for part in sequences for tag in part.tags if tag != IGNORED]
        assert len(tags) == len(text.offsets)
        entities.append(tagging.tags_to_spans(tags, text.offsets, example.text))
    return entities


@pytest.mark.parametrize("length", [None, 22])
@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_the_tags_that_are_learnt_say_the_entities_and_their_places(
    kind: str, length: int | None, task: Task, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(kind)
    expected = [example.row.entities for example in task.examples("train")]
    assert [tuple(sorted(entities)) for entities in read_off(base, task, length)] == [
        tuple(sorted(entities)) for entities in expected
    ]


def test_special_tokens_stand_around_each_window_and_are_not_learnt(
    encoder: BaseModel, task: Task
) -> None:
    start, end = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    for part in TextTagger(encoder, task, 12).tokenize_training(task.examples("train"))[0]:
        assert (part.ids[0], part.ids[-1]) == (start, end)
        assert (part.tags[0], part.tags[-1]) == (IGNORED, IGNORED)
        assert len(part.ids) == len(part.tags) <= 12


def test_a_causal_model_has_its_start_token(causal: BaseModel, task: Task) -> None:
    first = TextTagger(causal, task, None).tokenize_training(task.examples("train"))[0][0]
    assert first.ids[0] == causal.tokenizer.bos_token_id
    assert causal.tokenizer.decode(first.ids[1:]) == "Takes Xarel 5 mg."


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_offsets_count_characters_whatever_the_text_holds(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = "😀 Naïve\n\n  ÉSOME  5 µg."
    places = [
        (text.index("É"), text.index("É") + 5, "MED"),
        (len(text) - 5, len(text) - 1, "DOSE"),
    ]
    task = task_of(tmp_path, text, *places)
    (entities,) = read_off(request.getfixturevalue(kind), task)
    assert [entity[:3] for entity in entities] == places
    assert [entity.text for entity in entities] == ["ÉSOME", "5 µg"]


def test_an_entity_out_of_whose_sight_a_window_begins_is_not_learnt_there(
    causal: BaseModel, tmp_path: Path
) -> None:
    """A long entity fills windows of its own: these must not learn it as another one."""
    text = "Had " + "x" * 40 + " now."
    task = task_of(tmp_path, text, (4, 44, "MED"))
    tagger = TextTagger(causal, task, 13)  # a start token and twelve bytes
    begins = 0
    for part in tagger.tokenize_training(task.examples("train"))[0]:
        tags = [task.type.head.labels[tag] for tag in part.tags if tag != IGNORED]
        begins += tags.count("B-MED")
        assert "I-MED" not in tags or "B-MED" in tags
    assert begins == 1


def test_an_entity_at_a_windows_edge_is_learnt_once(causal: BaseModel, tmp_path: Path) -> None:
    for start in range(30):
        text = "a" * start + " Xarel " + "b" * (40 - start)
        task = task_of(tmp_path / str(start), text, (start + 1, start + 6, "MED"))
        (entities,) = read_off(causal, task, 25)
        assert [entity.text for entity in entities] == ["Xarel"]


def test_what_cannot_be_learnt_is_told(encoder: BaseModel, tmp_path: Path) -> None:
    nested = task_of(
        tmp_path / "nested", "Takes no drugs now.", (9, 14, "MED"), (6, 14, "MED"), (6, 8, "DOSE")
    )
    tokens = TokenizedTask(encoder, nested, 64)
    (note,) = token_notes(nested, tokens.training(), TrainingSettings(epochs=1))
    assert note.startswith("2 of 3 training entities overlap longer ones and are not learned")
    labels = nested.type.head.labels
    (part,) = tokens.training().sequences
    assert [labels[tag] for tag in part.tags[1:-1]] == ["O", "B-MED", "I-MED", "O", "O"]
    inside = task_of(tmp_path / "inside", "Takes no drugs now.", (9, 13, "MED"))
    parts, note = TokenizedTask(encoder, inside, 64).training().notes
    assert parts.startswith("1 of 1 training entities begin or end inside a word: each token is")
    assert note.startswith("1 of 1 training entities begin or end inside a token of this model")
    long = task_of(tmp_path / "long", "Takes no drugs now. " * 8, (9, 14, "MED"))
    (note,) = TokenizedTask(encoder, long, 20).training().notes
    assert note.startswith("1 training texts were cut into windows of 20 tokens")


def test_a_word_is_read_as_a_whole_where_entities_are_whole_words(
    encoder: BaseModel, task: Task, tmp_path: Path
) -> None:
    tagger = TextTagger(encoder, task, None)
    assert tagger.by_word
    texts = tagger.tokenize(task.examples("train"))
    for text in texts:
        assert list(text.words) == tagging.word_starts(text.offsets, text.text)
    assert any(len(text.words) < len(text.offsets) for text in texts)
    inside = task_of(tmp_path, "Takes no drugs now.", (9, 13, "MED"))
    (text,) = TextTagger(encoder, inside, None).tokenize(inside.examples("train"))
    assert text.words == tuple(range(len(text.offsets)))


def test_a_few_entities_inside_words_do_not_part_all_words(
    encoder: BaseModel, tmp_path: Path
) -> None:
    text = "Takes no drugs now. " * 100
    places = [(20 * turn + 9, 20 * turn + 14, "MED") for turn in range(100)]
    few = task_of(tmp_path / "few", text, (9, 13, "MED"), *places[1:])
    assert TextTagger(encoder, few, None).by_word
    notes = TokenizedTask(encoder, few, None).training().notes
    message = "1 of 100 training entities begin or end inside a word or a token of this model"
    assert any(note.startswith(message) for note in notes)
    more = task_of(tmp_path / "more", text, (9, 13, "MED"), (29, 33, "MED"), *places[2:])
    assert not TextTagger(encoder, more, None).by_word


def test_windows_never_exceed_what_the_model_was_made_for(encoder: BaseModel, task: Task) -> None:
    assert TextTagger(encoder, task, 4000).length == 128
    assert TextTagger(encoder, task, 64).length == 64
    assert TextTagger(encoder, task, None).length == 128


def test_a_tokenizer_that_knows_no_places_is_refused(encoder: BaseModel, task: Task) -> None:
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    slow = Slow(tokenizer_object=toy_tags.tokenizer().backend_tokenizer)
    base = BaseModel("mine", encoder.model, slow, encoder.device, "")
    with pytest.raises(UserError, match=r"model\.name: mine: its tokenizer does not report"):
        TextTagger(base, task, None)


def test_texts_without_any_token_are_told(encoder: BaseModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no training text has a token"):
        TokenizedTask(encoder, task_of(tmp_path, "\u200b\u200b", (0, 1, "MED")), 64).training()


def test_a_text_that_fits_has_one_window_and_an_empty_one_none() -> None:
    assert windows(5, 5) == (Window(0, 5, 0, 5),)
    assert windows(0, 5) == ()


def test_a_longer_text_has_windows_that_overlap() -> None:
    assert windows(10, 6) == (Window(0, 6, 0, 5), Window(4, 10, 5, 10))
    assert windows(7, 6) == (Window(0, 6, 0, 4), Window(1, 7, 4, 7))


@given(st.integers(1, 400), st.integers(1, 60))
def test_each_token_is_read_off_the_window_in_which_it_is_farthest_from_the_edge(
    tokens: int, room: int
) -> None:
    all_windows = windows(tokens, room)
    read = [token for window in all_windows for token in range(window.read_start, window.read_end)]
    assert read == list(range(tokens))
    for window in all_windows:
        assert window.start <= window.read_start < window.read_end <= window.end
        assert window.end - window.start == min(room, tokens)

    def distance_to_edge(token: int, window: Window) -> float:
        """Tokens to the nearer edge; the text's own ends are no edges."""
        before = math.inf if window.start == 0 else token - window.start
        right = math.inf if window.end == tokens else window.end - 1 - token
        return min(before, right)

    for window in all_windows:
        for token in range(window.read_start, window.read_end):
            rivals = [rival for rival in all_windows if rival.start <= token < rival.end]
            assert distance_to_edge(token, window) >= max(
                distance_to_edge(token, rival) for rival in rivals
            )


@given(st.integers(1, 400), st.integers(3, 60))
def test_neighbours_share_a_third(tokens: int, room: int) -> None:
    all_windows = windows(tokens, room)
    for window, following in pairwise(all_windows):
        assert window.end - following.start >= round(room * OVERLAP)


LABELS = all_tags(("A", "B-2"))


def said(*tokens: dict[str, float]) -> np.ndarray:
    """Probabilities; what is not named shares the rest."""
    rows = []
    for token in tokens:
        rest = (1 - sum(token.values())) / (len(LABELS) - len(token))
        rows.append([math.log(token.get(label, rest)) for label in LABELS])
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
    number = {label: index for index, label in enumerate(LABELS)}
    return max(ways, key=lambda way: sum(likely[at, number[tag]] for at, tag in enumerate(way)))


def test_one_part_that_errs_is_overruled_by_the_others() -> None:
    likely = said({"B-A": 0.9}, {"O": 0.5, "I-A": 0.4}, {"I-A": 0.8})
    assert token_classification.word_level_tags(likely, [0], LABELS) == ["B-A", "I-A", "I-A"]
    assert token_classification.word_level_tags(likely, [0, 1, 2], LABELS) == ["B-A", "O", "I-A"]


def test_a_word_goes_on_where_that_is_likelier_than_beginning() -> None:
    likely = said({"B-A": 0.9}, {"I-A": 0.6, "B-A": 0.3}, {"I-A": 0.9})
    assert token_classification.word_level_tags(likely, [0, 1], LABELS) == ["B-A", "I-A", "I-A"]


def test_a_word_never_begins_twice_inside_itself() -> None:
    likely = said({"B-A": 0.9}, {"B-A": 0.9}, {"B-A": 0.9})
    assert token_classification.word_level_tags(likely, [0], LABELS) == ["B-A", "I-A", "I-A"]
    assert token_classification.word_level_tags(likely, [0, 1], LABELS) == ["B-A", "B-A", "I-A"]


def test_labels_with_hyphens_stay_whole() -> None:
    likely = said({"B-B-2": 0.9}, {"O": 0.5, "I-B-2": 0.4})
    assert token_classification.word_level_tags(likely, [0], LABELS) == ["B-B-2", "I-B-2"]


def test_nothing_is_read_off_nothing() -> None:
    assert token_classification.word_level_tags(np.empty((0, len(LABELS))), [], LABELS) == []


@pytest.mark.parametrize("seed", range(20))
def test_each_word_says_the_likeliest_of_what_it_may_say(seed: int) -> None:
    draw = random.Random(seed)
    sizes = [draw.randint(1, 4) for _ in range(12)]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    likely = drawn(draw, sum(sizes))
    tags = token_classification.word_level_tags(likely, starts, LABELS)
    for start, size in zip(starts, sizes, strict=True):
        assert tuple(tags[start : start + size]) == likeliest(likely[start : start + size])


@pytest.mark.parametrize("seed", range(5))
def test_words_of_one_token_have_their_likeliest_tag(seed: int) -> None:
    likely = drawn(random.Random(seed), 30)
    expected = [LABELS[index] for index in likely.argmax(axis=1)]
    assert token_classification.word_level_tags(likely, range(30), LABELS) == expected


def edges(tagged: Sequence[str]) -> set[int]:
    offsets = [(index, index + 1) for index in range(len(tagged))]
    return {at for span in tags_to_spans(tagged, offsets, "x" * len(tagged)) for at in span[:2]}


def test_no_entity_begins_or_ends_inside_a_word() -> None:
    draw = random.Random(1)
    for words in product([1, 2, 3], repeat=4):
        starts = [sum(words[:index]) for index in range(4)]
        tags = token_classification.word_level_tags(drawn(draw, sum(words)), starts, LABELS)
        assert edges(tags) <= {*starts, sum(words)}
