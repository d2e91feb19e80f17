import random

import pytest
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from harness.data.tagging import TagError, entities, parse, scheme_of, sentence

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
        assert entities(parse(tags), scheme) == spans
        (oracle,) = Entities([tags], ORACLES[scheme]).entities
        assert [(one.start, one.end, one.tag) for one in oracle] == spans


@pytest.mark.parametrize("scheme", ORACLES)
def test_a_file_shows_its_scheme(scheme: str) -> None:
    spans = [(0, 2, "A"), (2, 3, "A"), (4, 5, "B")]
    assert scheme_of([parse(written(spans, 6, scheme))]) == scheme


def test_bilou_is_iobes_with_other_letters() -> None:
    assert parse(["B-A", "L-A", "U-B", "O"]) == parse(["B-A", "E-A", "S-B", "O"])


def test_offsets_are_those_of_the_joined_tokens() -> None:
    text, spans = sentence(["Has", "type", "2", "diabetes", "."], ["O", "B-C", "I-C", "I-C", "O"])
    assert text == "Has type 2 diabetes ."
    assert [(one.start, one.end, one.text) for one in spans] == [(4, 19, "type 2 diabetes")]


@pytest.mark.parametrize(
    ("tags", "scheme", "place", "told"),
    [
        (["O", "X-A"], "iob2", 1, "'X-A' is no tag"),
        (["B"], "iob2", 0, "'B' is no tag"),
        (["B-"], "iob2", 0, "'B-' is no tag"),
        (["O", "I-A"], "iob2", 1, "'I-A' after 'O' begins an entity; B- is right in IOB2"),
        (["B-A", "I-B"], "iob2", 1, "'I-B' after 'B-A' begins an entity"),
        (["I-A", "O", "B-A"], "iob1", 2, "'B-A' after 'O', but IOB1 has B- only behind"),
        (["B-A", "S-A"], "iob2", 1, "'S-A' is a tag of IOBES, the file says IOB2"),
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
        entities(parse(tags), scheme)
    assert told in str(fault.value)
    assert fault.value.place == place
