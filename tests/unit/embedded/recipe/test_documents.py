"""The pretraining corpus: seeded, in the formats it promises, and apart from the benchmarks."""

import random
import re

import pytest

from harness.embedded.recipe.documents import (
    COPYING_FIRST,
    FRAMES,
    MAKERS,
    MIXED,
    Corpus,
    document_text,
)
from harness.embedded.recipe.domains import CLINICAL, EVERYDAY
from harness.embedded.recipe.model import BOS_ID, EOS_ID, train_tokenizer
from harness.embedded.recipe.quality import Packer, encode
from harness.embedded.recipe.text import Domain, draw_case, draw_domain, draw_passage

_TASK_LABELS = re.compile(r"(?i:medication|dosage|condition|procedure)|\b(MED|DOS|CON|PRO)\b")
_TASK_FORMAT = re.compile(r"\w+: [^|;\n]+; [^|\n]+ \| \w+: ")


def _texts(seed: int, count: int = 800) -> list[str]:
    corpus = Corpus(seed)
    return [document_text(corpus.document(1400)) for _ in range(count)]


def test_same_seed_same_documents() -> None:
    assert _texts(1, 50) == _texts(1, 50)
    assert _texts(1, 50) != _texts(2, 50)


def test_no_benchmark_label_word_in_any_document_or_frame() -> None:
    for text in (*_texts(5), *FRAMES):
        assert not _TASK_LABELS.search(text), text


def test_the_benchmark_format_is_never_written() -> None:
    for text in _texts(6, 2000):
        assert not _TASK_FORMAT.search(text), text


def test_frames_are_unique_and_hold_every_domain() -> None:
    assert len(set(FRAMES)) > 150
    assert set(CLINICAL.frames) <= set(FRAMES)
    assert all(set(domain.frames) <= set(FRAMES) for domain in EVERYDAY)


def test_both_mixes_name_every_kind() -> None:
    assert set(MIXED) == set(COPYING_FIRST) == set(MAKERS)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_every_kind_has_prompts_and_answers(kind: str) -> None:
    rng = random.Random(9)
    documents = [MAKERS[kind](rng, 1400) for _ in range(30)]
    weights = [weight for document in documents for _, weight in document]
    assert all(0 < weight <= 1 for weight in weights)
    assert any(weight < 0.9 for weight in weights)
    assert any(weight >= 0.9 for weight in weights)


def test_found_spans_stand_in_the_text_as_they_are() -> None:
    rng = random.Random(10)
    for _ in range(200):
        domain = rng.choice((*EVERYDAY, CLINICAL, draw_domain(rng)))
        text, found = draw_passage(rng, domain, 3, draw_case(rng))
        assert all(span in text and slot in domain.fillers for slot, span in found)


def test_a_frame_with_an_unknown_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Domain("broken", {}, {}, ("{nobody} was here.",))


def test_documents_keep_case_and_some_begin_lines_without_a_blank() -> None:
    texts = _texts(11, 300)
    assert any(text.startswith(" ") for text in texts)
    assert any(not text.startswith(" ") for text in texts)
    assert any(re.search(r"\b[A-Z]{4,}\b", text) for text in texts)
    assert any(re.search(r"\. [A-Z][a-z]+ ", text) for text in texts)


def test_a_word_has_the_same_tokens_wherever_it_stands_and_text_survives() -> None:
    tokenizer = train_tokenizer(_texts(12, 300), 600)
    alone = tokenizer.encode(" Zorvanib").ids[1:]
    inside = tokenizer.encode(" took Zorvanib, 20 mg").ids
    assert any(inside[at : at + len(alone)] == alone for at in range(len(inside)))
    for text in _texts(13, 30):
        assert tokenizer.decode(tokenizer.encode(text).ids[1:]) == text


def test_rows_are_full_whole_documents_between_marks() -> None:
    tokenizer = train_tokenizer(_texts(12, 300), 600)
    rows = Packer(Corpus(0), tokenizer, 0).rows(6, 128, MIXED)
    again = Packer(Corpus(0), tokenizer, 0).rows(6, 128, MIXED)
    assert rows.ids.shape == rows.weights.shape == (6, 129)
    assert rows.ids.equal(again.ids)
    assert rows.weights.equal(again.weights)
    assert bool((rows.ids[:, 0] == BOS_ID).all())
    assert bool((rows.ids == EOS_ID).any())


def test_encoding_numbers_the_pieces_of_a_document() -> None:
    tokenizer = train_tokenizer(_texts(12, 300), 600)
    (encoded,) = encode(tokenizer, [[(" In: a b\n", 0.1), (" b\n", 1.0)]])
    assert len(encoded.ids) == len(encoded.weights) == len(encoded.segments)
    answer = [
        token_id
        for token_id, piece in zip(encoded.ids, encoded.segments, strict=True)
        if piece == 1
    ]
    assert tokenizer.decode(answer) == " b\n"
