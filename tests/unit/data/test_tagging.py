"""Tags of tokens: what they are made of, and what any sequence of them is read as."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from harness.data.rows import Span
from harness.data.tagging import (
    Offsets,
    TagError,
    all_tags,
    count_inside_words,
    detect_scheme,
    entity_ranges,
    non_overlapping,
    parse_tags,
    sentence_to_text,
    spans_to_tags,
    tags_to_spans,
    word_starts,
)

ORACLES = {"iob1": IOB1, "iob2": IOB2, "iobes": IOBES}


def written(spans: list[tuple[int, int, str]], size: int, scheme: str) -> list[str]:
    """Tags of these entities in a scheme."""
    tags = ["O"] * size
    for place, (start, end, label) in enumerate(spans):
        before = spans[place - 1] if place else (0, -1, "")
        touching = before[1] == start and before[2] == label
        first = "B" if scheme != "iob1" or touching else "I"
        letters = [first, *["I"] * (end - start - 1)]
        if scheme == "iobes":
            letters = ["S"] if end - start == 1 else [*letters[:-1], "E"]
        tags[start:end] = [f"{letter}-{label}" for letter in letters]
    return tags


def drawn(generator: random.Random) -> tuple[list[tuple[int, int, str]], int]:
    spans, place = [], 0
    for _ in range(generator.randrange(6)):
        start = place + generator.choice([0, 0, 1, 2])
        end = start + generator.randrange(1, 4)
        spans.append((start, end, generator.choice("AB")))
        place = end
    return spans, place + generator.randrange(1, 3)


@pytest.mark.parametrize("scheme", ORACLES)
def test_entities_are_those_of_seqeval(scheme: str) -> None:
    generator = random.Random(0)
    for _ in range(400):
        spans, size = drawn(generator)
        tags = written(spans, size, scheme)
        assert entity_ranges(parse_tags(tags), scheme) == spans
        (oracle,) = Entities([tags], ORACLES[scheme]).entities
        assert [(one.start, one.end, one.tag) for one in oracle] == spans


@pytest.mark.parametrize("scheme", ORACLES)
def test_a_file_shows_its_scheme(scheme: str) -> None:
    spans = [(0, 2, "A"), (2, 3, "A"), (4, 5, "B")]
    assert detect_scheme([parse_tags(written(spans, 6, scheme))]) == scheme


def test_bilou_is_iobes_with_other_letters() -> None:
    assert parse_tags(["B-A", "L-A", "U-B", "O"]) == parse_tags(["B-A", "E-A", "S-B", "O"])


def test_offsets_are_those_of_the_joined_tokens() -> None:
    text, spans = sentence_to_text(
        ["Has", "type", "2", "diabetes", "."], ["O", "B-C", "I-C", "I-C", "O"]
    )
    assert text == "Has type 2 diabetes ."
    assert [(one.start, one.end, one.text) for one in spans] == [(4, 19, "type 2 diabetes")]


@pytest.mark.parametrize(
    ("tags", "scheme", "place", "told"),
    [
        (["O", "X-A"], "iob2", 1, "'X-A' is not a tag"),
        (["B"], "iob2", 0, "'B' is not a tag"),
        (["B-"], "iob2", 0, "'B-' is not a tag"),
        (["O", "I-A"], "iob2", 1, "'I-A' after 'O' begins an entity; B- is right in IOB2"),
        (["B-A", "I-B"], "iob2", 1, "'I-B' after 'B-A' begins an entity"),
        (["I-A", "O", "B-A"], "iob1", 2, "'B-A' after 'O', but IOB1 has B- only after"),
        (["B-A", "S-A"], "iob2", 1, "'S-A' is a tag of IOBES, but the scheme is IOB2"),
        (["I-A", "E-A"], "iobes", 0, "'I-A' begins an entity; B- or S-A is right"),
        (["B-A", "O"], "iobes", 1, "'O' after 'B-A'; I- or E-A is right"),
        (["B-A", "E-B"], "iobes", 1, "'E-B' after 'B-A'; I- or E-A is right"),
        (["B-A", "I-A"], "iobes", 1, "the sentence ends inside A; E-A is right"),
    ],
)
def test_a_tag_that_cannot_stand_there_is_told(
    tags: list[str], scheme: str, place: int, told: str
) -> None:
    with pytest.raises(TagError) as fault:
        entity_ranges(parse_tags(tags), scheme)
    assert told in str(fault.value)
    assert fault.value.index == place


def places_of(text: str, *tokens: str) -> list[Offsets]:
    """Where tokens stand that follow each other in a text."""
    found, start = [], 0
    for token in tokens:
        start = text.index(token, start)
        found.append((start, start + len(token)))
        start += len(token)
    return found


def of(text: str, surface: str, label: str = "A", nth: int = 0) -> Span:
    start = -1
    for _ in range(nth + 1):
        start = text.index(surface, start + 1)
    return Span(start, start + len(surface), label, surface)


def test_there_are_two_tags_for_each_label_and_one_for_none() -> None:
    assert all_tags(("MED", "DOSE")) == ("O", "B-MED", "I-MED", "B-DOSE", "I-DOSE")


def test_parts_of_words_are_tagged_and_read_back() -> None:
    text = "Took metformin 5 mg."
    places = places_of(text, "Took", "met", "for", "min", "5", "mg", ".")
    entities = [of(text, "metformin"), of(text, "5 mg", "B")]
    found = spans_to_tags(entities, places)
    assert found == ["O", "B-A", "I-A", "I-A", "B-B", "I-B", "O"]
    assert list(tags_to_spans(found, places, text)) == entities


def test_an_entity_may_be_a_part_of_a_word() -> None:
    text = "A tumour-suppressor gene"
    places = places_of(text, "A", "tum", "our", "-", "suppressor", "gene")
    found = spans_to_tags([of(text, "tumour")], places)
    assert found == ["O", "B-A", "I-A", "O", "O", "O"]
    assert list(tags_to_spans(found, places, text)) == [of(text, "tumour")]


def test_entities_side_by_side_stay_two() -> None:
    text = "iron zinc"
    places = places_of(text, "iron", "zinc")
    both = [of(text, "iron"), of(text, "zinc")]
    assert spans_to_tags(both, places) == ["B-A", "B-A"]
    assert list(tags_to_spans(["B-A", "B-A"], places, text)) == both


def test_a_token_of_two_entities_is_the_ones_that_it_shares_more_with() -> None:
    both = [Span(0, 1, "A", "5"), Span(1, 3, "B", "mg")]
    assert spans_to_tags(both, [(0, 3), (3, 7)]) == ["B-B", "O"]
    assert spans_to_tags(both, [(0, 2), (2, 7)]) == ["B-A", "B-B"]


def test_a_token_that_reaches_out_of_its_entity_takes_more_along() -> None:
    text = "insulins"
    found = spans_to_tags([Span(0, 7, "A", "insulin")], [(0, 8)])
    assert tags_to_spans(found, [(0, 8)], text) == (Span(0, 8, "A", "insulins"),)


def test_white_space_that_a_tokenizer_counts_to_a_token_is_left_out() -> None:
    text = "on  Lasix \n"
    places = [(0, 2), (2, 3), (3, 9), (9, 11)]
    assert tags_to_spans(["O", "B-A", "I-A", "I-A"], places, text) == (Span(4, 9, "A", "Lasix"),)
    assert tags_to_spans(["O", "O", "O", "B-A"], places, text) == ()


def test_tokens_that_are_parts_of_one_character_are_no_entities_of_their_own() -> None:
    text = "5 µg"
    places = [(0, 1), (1, 2), (2, 3), (2, 3), (3, 4)]
    whole = Span(0, 4, "A", "5 µg")
    assert spans_to_tags([whole], places) == ["B-A", *["I-A"] * 4]
    assert tags_to_spans(spans_to_tags([whole], places), places, text) == (whole,)
    assert tags_to_spans(["O", "O", "B-A", "B-A", "I-A"], places, text) == (
        Span(2, 3, "A", "µ"),
        Span(3, 4, "A", "g"),
    )


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (["I-A", "O", "O"], [(0, 1, "A")]),  # an I- without B- begins
        (["B-A", "I-B", "I-B"], [(0, 1, "A"), (1, 3, "B")]),  # so does one of another label
        (["B-A", "O", "I-A"], [(0, 1, "A"), (2, 3, "A")]),
        (["I-A", "I-A", "B-A"], [(0, 2, "A"), (2, 3, "A")]),
        (["O", "O", "O"], []),
    ],
)
def test_ill_formed_tags_are_read_as_conlleval_reads_them(
    said: list[str], wanted: list[tuple[int, int, str]]
) -> None:
    text, places = "xyz", [(0, 1), (1, 2), (2, 3)]
    assert [one[:3] for one in tags_to_spans(said, places, text)] == wanted


def test_any_tags_are_read_as_seqeval_reads_them() -> None:
    draw, every = random.Random(3), all_tags(("A", "B_C", "D-E"))
    for _ in range(300):
        said = [draw.choice(every) for _ in range(draw.randint(1, 12))]
        places = [(place, place + 1) for place in range(len(said))]
        found = tags_to_spans(said, places, "x" * len(said))
        assert [(one.label, one.start, one.end - 1) for one in found] == get_entities(said)


def test_of_entities_that_overlap_the_longest_stays() -> None:
    inner, outer, apart = Span(3, 5, "A", ""), Span(2, 8, "B", ""), Span(9, 12, "A", "")
    crossing, same = Span(7, 9, "A", ""), Span(2, 8, "A", "")
    assert non_overlapping([inner, outer, apart]) == ((outer, apart), 1)
    assert non_overlapping([crossing, apart, outer]) == ((outer, apart), 1)
    assert non_overlapping([outer, same]) == ((outer,), 1)
    assert non_overlapping([]) == ((), 0)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=8))
def test_what_is_kept_never_overlaps_and_comes_back_from_its_tags(
    given_: list[tuple[int, int]],
) -> None:
    text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"
    every = [Span(a, a + size, "AB"[a % 2], text[a : a + size]) for a, size in given_]
    kept, left_out = non_overlapping(every)
    assert len(kept) + left_out == len(every)
    assert all(one.end <= other.start for one, other in pairwise(kept))
    places = [(place, place + 1) for place in range(len(text))]
    assert tags_to_spans(spans_to_tags(kept, places), places, text) == kept


def test_a_word_is_a_run_of_letters_and_digits() -> None:
    text = "On met-formin 5mg (a_b)."
    places = places_of(
        text, "On", "met", "-", "for", "min", "5", "mg", "(", "a", "_", "b", ")", "."
    )
    firsts = [text[slice(*places[first])] for first in word_starts(places, text)]
    assert firsts == ["On", "met", "-", "for", "5", "(", "a", "_", "b", ")", "."]


def test_words_are_found_whatever_white_space_a_tokenizer_counts_to_tokens() -> None:
    text = "on Lasix  now"
    assert word_starts([(0, 2), (2, 5), (5, 8), (8, 9), (9, 13)], text) == [0, 1, 3, 4]
    assert word_starts([(0, 2), (3, 3), (3, 5), (5, 8), (10, 13)], text) == [0, 1, 2, 4]


def test_parts_of_one_character_are_one_word() -> None:
    text = "5 \U0001f600 \xb5g"
    places = [(0, 1), (2, 3), (2, 3), (2, 3), (4, 5), (4, 5), (5, 6)]
    assert word_starts(places, text) == [0, 1, 4]
    assert word_starts([], "") == []


def test_entities_inside_words_are_counted() -> None:
    text = "tumours of lungs"
    assert count_inside_words([of(text, "tumours"), of(text, "lungs")], text) == 0
    assert count_inside_words([of(text, "tumour"), of(text, "ungs"), of(text, "of")], text) == 2
