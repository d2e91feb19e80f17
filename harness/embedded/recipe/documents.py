"""Documents that can be solved only by copying strings nobody has seen before.

Copying comes first: it appears as a jump after some two million tokens, and without it no
adapter gets anywhere on unseen entities.

Documents that ask for spans by label: episodes of worked examples, questions on a passage.

They teach an adapter's one hard part, choosing the span that fits the label, and in the episodes
with labels that mean nothing, learning a label from a few examples in the prompt.

Prose documents: clinical notes with a line drawn from them, dialogues with one line.

The pretraining corpus: an endless, seeded stream of documents, never the same one twice.

A document is a list of (text, loss weight): what cannot be predicted counts little, answers count
fully. Words are preceded by a blank, so that a word has the same tokens wherever it stands; in a
part of the documents lines begin without one, as lines of real text do.

What is trained when: row lengths, document mix and learning rate, by tokens, not by time.
"""

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.embedded.recipe import text as fillers
from harness.embedded.recipe import text as words
from harness.embedded.recipe.domains import CLINICAL, EVERYDAY, PROSE
from harness.embedded.recipe.text import (
    INVENTED,
    Document,
    Domain,
    Layout,
    any_case,
    any_label_case,
    any_layout,
    in_case,
    invented_domain,
    passage,
    pick,
    unique,
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_MARKS = (
    ("*", "*"), ("[", "]"), ("<", ">"), ("#", ""), ("_", "_"), ("(", ")"), ('"', '"'),
    ("the ", ""), ("Dr ", ""), ("Mr ", ""), ("in ", ""), ("with ", ""), ("", " kg"), ("", " mg"),
)  # fmt: skip


def repeat(rng: random.Random, budget: int) -> Document:
    """A run of words or sentences, and the same again (or a stretch of it)."""
    if rng.random() < 0.5:
        domain = pick(rng, (PROSE, CLINICAL, pick(rng, EVERYDAY), pick(rng, EVERYDAY)))
        text = passage(rng, domain, 1 + int(rng.random() * 3), any_case(rng)).text
        head = pick(rng, ("\n Copy:", "\n copy:", "\n Again:", "\n QUOTE:"))
        tokens = text.split()
        start = int(rng.random() * len(tokens))
        stretch = " " + " ".join(tokens[start : start + 3 + int(rng.random() * 18)])
        return [(text + head, 0.3), (text if rng.random() < 0.6 else stretch, 1.0)]
    count = 4 + int(rng.random() * (19 if budget > 250 else 12))
    run = [words.word(rng) if rng.random() < 0.9 else fillers.number(rng) for _ in range(count)]
    text = " " + pick(rng, (" ", " ", ", ", "; ", "\n ")).join(run)
    head = pick(rng, ("\n", " |", "\n copy:", "\n Again:", " ->"))
    segments: Document = [(text + head, 0.05), (text, 1.0)]
    if count < 10 and rng.random() < 0.4:
        segments += [("\n again:", 0.1), (text, 1.0)]
    return segments


def key_values(rng: random.Random, budget: int) -> Document:
    """Keys with values, then some keys asked for their value, or values for their key."""
    count = 3 + int(rng.random() * (7 if budget > 250 else 4))
    pairs = {words.word(rng): _value(rng) for _ in range(count)}
    colon = pick(rng, (":", " =", " is", " ->"))
    text = pick(rng, ("\n", ";", ",")).join(
        f" {key}{colon} {value}" for key, value in pairs.items()
    )
    segments: Document = [(text + pick(rng, ("\n\n", ".\n", " .\n")), 0.05)]
    backwards = rng.random() < 0.3
    asked = rng.sample(list(pairs), min(len(pairs), 2 + int(rng.random() * 5)))
    for key in asked:
        if backwards:
            segments += [(f" who has {pairs[key]}?", 0.05), (f" {key}\n", 1.0)]
        else:
            prompt = pick(rng, (f" {key}?", f" {key}{colon}"))
            segments += [(prompt, 0.05), (f" {pairs[key]}\n", 1.0)]
    return segments


def _value(rng: random.Random) -> str:
    return words.phrase(rng) if rng.random() < 0.8 else fillers.quantity(rng)


def _list_question(
    rng: random.Random, kind: int, items: Sequence[str], join: str
) -> tuple[str, str]:
    """A question on a list and its answer."""
    count = len(items)
    place = int(rng.random() * min(6, count))
    if kind == 0:
        return f" {_ORDINALS[place]}:", items[place]
    if kind == 1:
        return " last:", items[-1]
    if kind == 2:
        return " reverse:", join.join(reversed(items))
    if kind == 3 and place + 1 < count:
        return f" after {items[place]}:", items[place + 1]
    if kind == 4 and place > 0:
        return f" before {items[place]}:", items[place - 1]
    if kind == 5:
        return f" without {items[place]}:", join.join((*items[:place], *items[place + 1 :]))
    if kind == 6:
        return " count:", str(count)
    return " copy:", pick(rng, ("; ", " / ", " | ", ", ")).join(items)


def lists(rng: random.Random, budget: int) -> Document:
    """A list and three questions on it: places, neighbours, order, count, other separators."""
    count = 3 + int(rng.random() * (7 if budget > 250 else 4))
    items = [words.phrase(rng) if rng.random() < 0.4 else words.word(rng) for _ in range(count)]
    items = list(dict.fromkeys(items))
    join = pick(rng, (", ", "; ", " - "))
    segments: Document = [(f" list: {join.join(items)}\n", 0.05)]
    for kind in rng.sample(range(8), 3):
        prompt, answer = _list_question(rng, kind, items, join)
        segments += [(prompt, 0.05), (f" {answer}\n", 1.0)]
    return segments


def marked(rng: random.Random, budget: int) -> Document:
    """Some words of a run bear a mark (a bracket, a word before, a unit): give just these."""
    before, after = pick(rng, _MARKS)
    join = pick(rng, (", ", "; ", " / "))
    task = pick(rng, ("marked", "chosen", "tagged", "selected", words.novel(rng)))
    most = 6 + int(rng.random() * (13 if budget > 250 else 6))
    tight = before.endswith(" ") or not before or rng.random() < 0.5
    segments: Document = []
    for _ in range(pick(rng, (1, 2, 3))):
        run: list[str] = []
        chosen: list[str] = []
        for _ in range(4 + int(rng.random() * (most - 3))):
            text = words.word(rng)
            if rng.random() < 0.25:
                chosen.append(text)
                text = (before + (text if tight else f" {text} ") + after).strip()
            run.append(text)
        answer = join.join(chosen) or "none"
        segments += [(f" {' '.join(run)}\n {task}:", 0.05), (f" {answer}\n", 1.0)]
    return segments


def _written(kind: int, pairs: Sequence[tuple[str, str]]) -> str:
    """Key-value pairs in one of seven notations."""
    if kind == 0:
        return "; ".join(f"{key} = {value}" for key, value in pairs)
    if kind == 1:
        return json.dumps(dict(pairs))
    if kind == 2:
        return "\n ".join(f"{key}: {value}" for key, value in pairs)
    if kind == 3:
        return " ".join(f"<{key}> {value} </{key}>" for key, value in pairs)
    if kind == 4:
        return " | ".join(value for _, value in pairs)
    if kind == 5:
        return ", ".join(f"{value} ({key})" for key, value in pairs)
    return "\n".join(f"{key}, {value}" for key, value in pairs)


def convert(rng: random.Random, budget: int) -> Document:
    """The same pairs in another notation."""
    count = 2 + int(rng.random() * (4 if budget > 250 else 2))
    pairs = list({words.word(rng): _value(rng) for _ in range(count)}.items())
    one, other = rng.sample(range(7), 2)
    head, tail = pick(rng, (("convert:", "to:"), ("From:", "To:"), ("A:", "B:")))
    return [
        (f" {head} {_written(one, pairs)}\n {tail}", 0.1),
        (f" {_written(other, pairs)}\n", 1.0),
    ]


def recase(rng: random.Random, budget: int) -> Document:
    """Words rewritten in lower case, capitals or with a capital: the same word, other tokens."""
    task, change = pick(rng, (("lower", str.lower), ("UPPER", str.upper), ("Title", str.title)))
    segments: Document = []
    for _ in range(2 if budget > 250 else 1):
        run = " ".join(words.word(rng) for _ in range(2 + int(rng.random() * 6)))
        segments += [(f" {run}\n {task}:", 0.05), (f" {change(run)}\n", 1.0)]
    return segments


_INPUTS = ("text", "input", "in", "message", "record", "report", "entry", "line", "passage")
_OUTPUTS = ("output", "out", "answer", "result", "found", "fields", "tags", "spans", "labels")
_ORDERS = (" find the ", " give the ", " extract ", " mark each ", " read off the ")


def _domain(rng: random.Random, everyday: float) -> Domain:
    return pick(rng, EVERYDAY) if rng.random() < everyday else CLINICAL


def _labels(
    rng: random.Random, domain: Domain, slots: list[str], meaningless: bool, case: str
) -> dict[str, str]:
    """A label word for each slot, no word twice."""
    labels: dict[str, str] = {}
    while len(labels) < len(slots):
        slot = slots[len(labels)]
        text = words.label(rng) if meaningless else pick(rng, domain.labels[slot])
        text = in_case(text, case)
        if text not in labels.values():
            labels[slot] = text
    return labels


def _shots(
    rng: random.Random, domain: Domain, slots: list[str], labels: dict[str, str], budget: int
) -> list[tuple[str, str]]:
    """Pairs of passage and answer in one layout, as many as `budget` letters allow."""
    layout: Layout = any_layout(rng)
    case = any_case(rng)
    roomy = budget > 1000
    longest = pick(rng, (2, 3, 3) if domain.name == INVENTED or roomy else (1, 2, 2, 3))
    wanted = (4 if roomy else 3) + int(rng.random() * (3 if roomy else 4))
    pairs: list[tuple[str, str]] = []
    while len(pairs) < wanted:
        text, found = passage(rng, domain, 1 + int(rng.random() * longest), case)
        answer = layout.write(found, slots, labels)
        budget -= len(text) + len(answer) + 20
        if budget < 0 and len(pairs) > 1:
            break
        pairs.append((text, answer))
    return pairs


def episode(rng: random.Random, budget: int) -> Document:
    """Three to six worked examples under one set of labels; each but the first two fully weighed.

    A label that means nothing cannot be guessed in the first example, so that one counts little.
    """
    own_world = rng.random() < 0.12
    domain = invented_domain(rng) if own_world else _domain(rng, 0.55)
    meaningless = own_world or rng.random() < 0.35
    slots = list(domain.fillers)
    slots = rng.sample(slots, min(len(slots), pick(rng, (1, 2, 2, 3, 3, 4, 4, 5))))
    case = any_label_case(rng)
    labels = _labels(rng, domain, slots, meaningless, case)
    pairs = _shots(rng, domain, slots, labels, budget)
    head, tail = in_case(pick(rng, _INPUTS), case), in_case(pick(rng, _OUTPUTS), case)
    segments: Document = []
    if rng.random() < (0.2 if meaningless else 0.5):
        segments.append((pick(rng, _ORDERS) + ", ".join(labels.values()) + ".\n", 0.1))
    between = pick(rng, ("\n", "\n", "\n\n"))
    for place, (text, answer) in enumerate(pairs):
        last = place == len(pairs) - 1
        first = (0.15, 0.6) if meaningless else (0.5, 1.0)
        segments.append((f" {head}:{text}\n {tail}:", 0.1))
        segments.append((answer + ("" if last else between), first[place] if place < 2 else 1.0))
    return segments


def questions(rng: random.Random, budget: int) -> Document:
    """One or two passages and many labels asked on each: one line a label."""
    domain = _domain(rng, 0.55)
    join = pick(rng, (", ", "; ", " and "))
    colon = pick(rng, (":", "?", " ="))
    empty = pick(rng, ("none", "no", "nil"))
    head = pick(rng, _INPUTS)
    label_case, case = any_label_case(rng), any_case(rng)
    by_text = rng.random() < 0.25
    segments: Document = []
    for _ in range(pick(rng, (1, 2)) if budget > 300 else 1):
        text, found = passage(rng, domain, 1 + int(rng.random() * 3), case)
        segments.append((f" {in_case(head, label_case)}:{text}\n", 0.1))
        if by_text:
            for slot, span in rng.sample(found, min(len(found), 4)):
                kind = in_case(domain.labels[slot][0], label_case)
                segments += [(f" {span}{colon}", 0.05), (f" {kind}\n", 1.0)]
            continue
        slots = list(domain.fillers)
        for slot in rng.sample(slots, 2 + int(rng.random() * (len(slots) - 1))):
            spans = unique([span for key, span in found if key == slot])
            asked = in_case(pick(rng, domain.labels[slot]), label_case)
            answer = join.join(spans) or empty
            segments += [(f" {asked}{colon}", 0.05), (f" {answer}\n", 1.0)]
    return segments


def dialogue_questions(rng: random.Random, budget: int) -> Document:
    """Questions in words on one passage: which, first, is there, what is."""
    domain = _domain(rng, 0.7)
    text, found = passage(
        rng, domain, 1 + int(rng.random() * (4 if budget > 300 else 2)), any_case(rng)
    )
    segments: Document = [(f" {pick(rng, ('Context', 'Passage', 'text'))}:{text}\n", 0.2)]
    ask, reply = pick(rng, (("Q:", "A:"), ("q:", "a:"), ("Question:", "Answer:")))
    slots = list(domain.fillers)
    for slot in rng.sample(slots, min(3, len(slots))):
        spans = unique([span for key, span in found if key == slot])
        label = pick(rng, domain.labels[slot])
        kind = rng.random()
        if kind < 0.5:
            question, answer = f"which {label} is named?", ", ".join(spans) or "not given"
        elif kind < 0.75:
            question, answer = f"first {label}?", (spans or ["not given"])[0]
        else:
            question = f"is there a {label}?"
            answer = f"yes, {spans[-1]}" if spans else "no"
        segments += [(f" {ask} {question}\n {reply}", 0.1), (f" {answer}\n", 1.0)]
    if found and rng.random() < 0.5:
        slot, span = pick(rng, found)
        segments += [(f" {ask} what is {span}?\n {reply}", 0.1)]
        segments += [(f" {domain.labels[slot][0]}\n", 1.0)]
    return segments


_SECTIONS = ("HISTORY:", "EXAM:", "COURSE:", "IMPRESSION:", "PLAN:", "History:", "Labs:", "Today:")


def note(rng: random.Random, budget: int) -> Document:
    """Some sentences of a clinical note, often with a line that repeats a part of them."""
    count = 2 + int(rng.random() * (5 if budget > 300 else 3))
    text, found = passage(rng, PROSE, count, any_case(rng))
    if rng.random() < 0.3:
        text = f" {pick(rng, _SECTIONS)}{text}"
    segments: Document = [(text + "\n", 0.6)]

    def values(slot: str) -> list[str]:
        return unique([span for key, span in found if key == slot])

    kind = rng.random()
    if kind < 0.3:
        parts = values("illness")[:2] + values("exam")[:1] + values("drug")[:2]
        segments += [(" In short:", 0.3), (f" {'; '.join(parts) or 'nothing new'}.\n", 1.0)]
    elif kind < 0.5:
        segments += [(" Takes:", 0.3), (f" {' and '.join(values('drug')) or 'nothing'}\n", 1.0)]
    elif kind < 0.65:
        illness = " and ".join(values("illness")) or "nothing"
        segments += [(" ILLS:", 0.3), (f" {illness}\n", 1.0)]
    elif kind < 0.8:
        tokens = text.split()
        start = int(rng.random() * len(tokens))
        quoted = tokens[start : start + 14]
        segments += [(f" Quote: {' '.join(quoted[:2])}", 0.2)]
        segments += [(f" {' '.join(quoted[2:])}\n", 1.0)]
    return segments


def dialogue(rng: random.Random, _budget: int) -> Document:
    """A short talk between two people and one line that says what was agreed."""
    one, two = words.name(rng).split()[0], words.name(rng).split()[0]
    thing, city = words.phrase(rng), words.name(rng)
    day, much = fillers.date(rng), fillers.quantity(rng)
    hello = pick(rng, ("Hi", "Hello", "Good day", "Hey"))
    bye = pick(rng, ("Ok", "Fine", "Sure", "Good"))
    talks = (
        (f"{one}: {hello} {two}, did you get the {thing}?\n {two}: Yes, {much} from {city}.\n "
         f"{one}: {bye}.", f"{two} got {much} of {thing} from {city}."),
        (f"{one}: {hello}, when do you go to {city}?\n {two}: On {day}, with {thing}.\n "
         f"{one}: {bye}, bye.", f"{two} goes to {city} on {day} with {thing}."),
        (f"{one}: {hello} {two}. The {thing} is broken.\n {two}: {bye}, I will come on {day}.\n "
         f"{one}: Thanks.", f"{two} will fix the {thing} of {one} on {day}."),
        (f"{one}: {two}, can you buy {much} of {thing}?\n {two}: No, only in {city}.\n "
         f"{one}: {bye}.", f"{one} wants {much} of {thing}, sold in {city}."),
    )  # fmt: skip
    talk, line = pick(rng, talks)
    head = pick(rng, ("\n Summary:", "\n in one line:", "\n TL;DR:"))
    return [(f" {talk}{head}", 0.15), (f" {line}\n", 1.0)]


Maker = Callable[[random.Random, int], Document]

#: Every sentence frame of the corpus, so that a benchmark can check that it shares none.
FRAMES: tuple[str, ...] = tuple(
    frame for domain in (*EVERYDAY, CLINICAL, PROSE) for frame in domain.frames
)

MAKERS: Mapping[str, Maker] = {
    "episode": episode,
    "questions": questions,
    "dialogue_questions": dialogue_questions,
    "repeat": repeat,
    "key_values": key_values,
    "lists": lists,
    "marked": marked,
    "convert": convert,
    "recase": recase,
    "note": note,
    "dialogue": dialogue,
}

#: Relative frequency of documents while copying is learnt, and after that.
COPYING_FIRST: Mapping[str, float] = {
    "episode": 3, "questions": 3, "dialogue_questions": 2, "repeat": 42, "key_values": 15,
    "lists": 10, "marked": 14, "convert": 5, "recase": 1, "note": 4, "dialogue": 1,
}  # fmt: skip
MIXED: Mapping[str, float] = {
    "episode": 40, "questions": 18, "dialogue_questions": 7, "repeat": 13, "key_values": 6,
    "lists": 5, "marked": 4, "convert": 4, "recase": 2, "note": 8, "dialogue": 3,
}  # fmt: skip


class Corpus:
    """Draws documents with one random generator."""

    def __init__(self, seed: int) -> None:
        """The same `seed` gives the same documents, whatever the machine."""
        self._rng = random.Random(seed)

    def document(self, budget: int, mix: Mapping[str, float] = MIXED) -> Document:
        """One document of about `budget` letters at most, of a kind drawn from `mix`."""
        kind = self._rng.choices(tuple(mix), tuple(mix.values()))[0]
        segments = MAKERS[kind](self._rng, budget)
        return _unindented(segments) if self._rng.random() < 0.4 else segments


def _unindented(segments: Document) -> Document:
    """The document with no blank at the start of its lines."""
    result: Document = []
    line_start = True
    for text, weight in segments:
        stripped = text.replace("\n ", "\n")
        if line_start:
            stripped = stripped.removeprefix(" ")
        result.append((stripped, weight))
        line_start = stripped.endswith("\n")
    return result


def text_of(document: Document) -> str:
    """The document as one string."""
    return "".join(text for text, _ in document)


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with one row length."""

    share: float
    length: int
    rows: int
    mix: Mapping[str, float]


#: About 3,072 tokens a step. The last rows are as long as a prompt with five worked examples.
STAGES: tuple[Stage, ...] = (
    Stage(0.08, 96, 32, COPYING_FIRST),
    Stage(0.30, 192, 16, MIXED),
    Stage(0.37, 384, 8, MIXED),
    Stage(0.25, 768, 4, MIXED),
)
_WARM_UP = 60
_HOLD = 0.35
_FLOOR = 0.03


def steps(stage: Stage, tokens: int) -> int:
    """Steps of a stage in a run of `tokens` tokens; at least one."""
    return max(1, round(stage.share * tokens / (stage.length * stage.rows)))


def factor(step: int, done: float) -> float:
    """Learning-rate factor: warm-up, hold, cosine to 3 %; `done` is the share of tokens seen."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    if done < _HOLD:
        return warm
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _HOLD) / (1 - _HOLD))))
    return warm * (_FLOOR + (1 - _FLOOR) * fall)


def chunks(tokens: int, steps_per_chunk: int) -> Iterator[tuple[Stage, int]]:
    """The run in pieces: a stage and how many steps of it come next."""
    for stage in STAGES:
        left = steps(stage, tokens)
        while left > 0:
            count = min(left, steps_per_chunk)
            yield stage, count
            left -= count
