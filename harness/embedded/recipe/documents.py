"""The pretraining corpus: an endless, seeded stream of documents; and the training schedule.

A document is a list of (text, loss weight): unpredictable text counts little, answers count fully.
Words are preceded by a blank, so that a word has the same tokens wherever it occurs; in a part of
the documents lines begin without one, as lines of real text do.

There are three groups of documents. Copying of unseen strings comes first in the schedule: the
ability appears abruptly after about two million tokens, and without it no adapter learns unseen
entities. Spans by label (few-shot episodes and questions on a passage) teach the selection of the
span that fits a label, in some episodes with meaningless labels that only the examples define. The
rest is prose: clinical notes and dialogues, each with a line that summarizes them.
"""

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.embedded.recipe.domains import CLINICAL, EVERYDAY, PROSE
from harness.embedded.recipe.text import (
    INVENTED,
    AnswerFormat,
    Document,
    Domain,
    apply_case,
    draw_case,
    draw_date,
    draw_domain,
    draw_label,
    draw_label_case,
    draw_layout,
    draw_name,
    draw_number,
    draw_passage,
    draw_phrase,
    draw_quantity,
    draw_word,
    invent_word,
    pick,
    without_duplicates,
)

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_MARKS = (
    ("*", "*"), ("[", "]"), ("<", ">"), ("#", ""), ("_", "_"), ("(", ")"), ('"', '"'),
    ("the ", ""), ("Dr ", ""), ("Mr ", ""), ("in ", ""), ("with ", ""), ("", " kg"), ("", " mg"),
)  # fmt: skip


def make_repeat(rng: random.Random, budget: int) -> Document:
    """Words or sentences to repeat, or a part of them."""
    if rng.random() < 0.5:
        domain = pick(rng, (PROSE, CLINICAL, pick(rng, EVERYDAY), pick(rng, EVERYDAY)))
        text = draw_passage(rng, domain, 1 + int(rng.random() * 3), draw_case(rng)).text
        head = pick(rng, ("\n Copy:", "\n copy:", "\n Again:", "\n QUOTE:"))
        tokens = text.split()
        start = int(rng.random() * len(tokens))
        stretch = " " + " ".join(tokens[start : start + 3 + int(rng.random() * 18)])
        return [(text + head, 0.3), (text if rng.random() < 0.6 else stretch, 1.0)]
    count = 4 + int(rng.random() * (19 if budget > 250 else 12))
    run = [draw_word(rng) if rng.random() < 0.9 else draw_number(rng) for _ in range(count)]
    text = " " + pick(rng, (" ", " ", ", ", "; ", "\n ")).join(run)
    head = pick(rng, ("\n", " |", "\n copy:", "\n Again:", " ->"))
    segments: Document = [(text + head, 0.05), (text, 1.0)]
    if count < 10 and rng.random() < 0.4:
        segments += [("\n again:", 0.1), (text, 1.0)]
    return segments


def make_key_values(rng: random.Random, budget: int) -> Document:
    """Keys with values, then questions for the value of a key, or for the key of a value."""
    count = 3 + int(rng.random() * (7 if budget > 250 else 4))
    pairs = {draw_word(rng): _value(rng) for _ in range(count)}
    colon = pick(rng, (":", " =", " is", " ->"))
    text = pick(rng, ("\n", ";", ",")).join(
        f" {key}{colon} {value}" for key, value in pairs.items()
    )
    segments: Document = [(text + pick(rng, ("\n\n", ".\n", " .\n")), 0.05)]
    backwards = rng.random() < 0.3
    questioned = rng.sample(list(pairs), min(len(pairs), 2 + int(rng.random() * 5)))
    for key in questioned:
        if backwards:
            segments += [(f" who has {pairs[key]}?", 0.05), (f" {key}\n", 1.0)]
        else:
            prompt = pick(rng, (f" {key}?", f" {key}{colon}"))
            segments += [(prompt, 0.05), (f" {pairs[key]}\n", 1.0)]
    return segments


def _value(rng: random.Random) -> str:
    return draw_phrase(rng) if rng.random() < 0.8 else draw_quantity(rng)


def _list_question(
    rng: random.Random, question_type: int, items: Sequence[str], join: str
) -> tuple[str, str]:
    """A question on a list and its answer."""
    count = len(items)
    position = int(rng.random() * min(6, count))
    if question_type == 0:
        return f" {_ORDINALS[position]}:", items[position]
    if question_type == 1:
        return " last:", items[-1]
    if question_type == 2:
        return " reverse:", join.join(reversed(items))
    if question_type == 3 and position + 1 < count:
        return f" after {items[position]}:", items[position + 1]
    if question_type == 4 and position > 0:
        return f" before {items[position]}:", items[position - 1]
    if question_type == 5:
        return f" without {items[position]}:", join.join(
            (*items[:position], *items[position + 1 :])
        )
    if question_type == 6:
        return " count:", str(count)
    return " copy:", pick(rng, ("; ", " / ", " | ", ", ")).join(items)


def make_lists(rng: random.Random, budget: int) -> Document:
    """A list and three questions on it: positions, neighbours, order, count, other separators."""
    count = 3 + int(rng.random() * (7 if budget > 250 else 4))
    items = [draw_phrase(rng) if rng.random() < 0.4 else draw_word(rng) for _ in range(count)]
    items = list(dict.fromkeys(items))
    join = pick(rng, (", ", "; ", " - "))
    segments: Document = [(f" list: {join.join(items)}\n", 0.05)]
    for question_type in rng.sample(range(8), 3):
        prompt, answer = _list_question(rng, question_type, items, join)
        segments += [(prompt, 0.05), (f" {answer}\n", 1.0)]
    return segments


def make_marked(rng: random.Random, budget: int) -> Document:
    """Words of which some are marked (brackets, a title, a unit); the answer lists these."""
    before, after = pick(rng, _MARKS)
    join = pick(rng, (", ", "; ", " / "))
    instruction = pick(rng, ("marked", "chosen", "tagged", "selected", invent_word(rng)))
    max_words = 6 + int(rng.random() * (13 if budget > 250 else 6))
    adjacent = before.endswith(" ") or not before or rng.random() < 0.5
    segments: Document = []
    for _ in range(pick(rng, (1, 2, 3))):
        run: list[str] = []
        answers: list[str] = []
        for _ in range(4 + int(rng.random() * (max_words - 3))):
            text = draw_word(rng)
            if rng.random() < 0.25:
                answers.append(text)
                text = (before + (text if adjacent else f" {text} ") + after).strip()
            run.append(text)
        answer = join.join(answers) or "none"
        segments += [(f" {' '.join(run)}\n {instruction}:", 0.05), (f" {answer}\n", 1.0)]
    return segments


def _format_pairs(notation: int, pairs: Sequence[tuple[str, str]]) -> str:
    """Key-value pairs in one of seven notations."""
    if notation == 0:
        return "; ".join(f"{key} = {value}" for key, value in pairs)
    if notation == 1:
        return json.dumps(dict(pairs))
    if notation == 2:
        return "\n ".join(f"{key}: {value}" for key, value in pairs)
    if notation == 3:
        return " ".join(f"<{key}> {value} </{key}>" for key, value in pairs)
    if notation == 4:
        return " | ".join(value for _, value in pairs)
    if notation == 5:
        return ", ".join(f"{value} ({key})" for key, value in pairs)
    return "\n".join(f"{key}, {value}" for key, value in pairs)


def make_convert(rng: random.Random, budget: int) -> Document:
    """The same pairs in another notation."""
    count = 2 + int(rng.random() * (4 if budget > 250 else 2))
    pairs = list({draw_word(rng): _value(rng) for _ in range(count)}.items())
    source, target = rng.sample(range(7), 2)
    head, tail = pick(rng, (("convert:", "to:"), ("From:", "To:"), ("A:", "B:")))
    return [
        (f" {head} {_format_pairs(source, pairs)}\n {tail}", 0.1),
        (f" {_format_pairs(target, pairs)}\n", 1.0),
    ]


def make_recase(rng: random.Random, budget: int) -> Document:
    """Words to rewrite in lower case, upper case or title case: the same words, other tokens."""
    task, change = pick(rng, (("lower", str.lower), ("UPPER", str.upper), ("Title", str.title)))
    segments: Document = []
    for _ in range(2 if budget > 250 else 1):
        run = " ".join(draw_word(rng) for _ in range(2 + int(rng.random() * 6)))
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
    """A different label word for each slot."""
    labels: dict[str, str] = {}
    while len(labels) < len(slots):
        slot = slots[len(labels)]
        text = draw_label(rng) if meaningless else pick(rng, domain.labels[slot])
        text = apply_case(text, case)
        if text not in labels.values():
            labels[slot] = text
    return labels


def _shots(
    rng: random.Random, domain: Domain, slots: list[str], labels: dict[str, str], budget: int
) -> list[tuple[str, str]]:
    """Pairs of passage and answer in one format, as many as `budget` letters allow."""
    answer_format: AnswerFormat = draw_layout(rng)
    case = draw_case(rng)
    has_room = budget > 1000
    longest = pick(rng, (2, 3, 3) if domain.name == INVENTED or has_room else (1, 2, 2, 3))
    count = (4 if has_room else 3) + int(rng.random() * (3 if has_room else 4))
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        text, spans = draw_passage(rng, domain, 1 + int(rng.random() * longest), case)
        answer = answer_format.write(spans, slots, labels)
        budget -= len(text) + len(answer) + 20
        if budget < 0 and len(pairs) > 1:
            break
        pairs.append((text, answer))
    return pairs


def make_episode(rng: random.Random, budget: int) -> Document:
    """Three to six few-shot examples under one set of labels, with full weight from the third on.

    A meaningless label cannot be known in the first example, so that its answer counts little.
    """
    is_invented = rng.random() < 0.12
    domain = draw_domain(rng) if is_invented else _domain(rng, 0.55)
    meaningless = is_invented or rng.random() < 0.35
    slots = list(domain.fillers)
    slots = rng.sample(slots, min(len(slots), pick(rng, (1, 2, 2, 3, 3, 4, 4, 5))))
    case = draw_label_case(rng)
    labels = _labels(rng, domain, slots, meaningless, case)
    pairs = _shots(rng, domain, slots, labels, budget)
    head, tail = apply_case(pick(rng, _INPUTS), case), apply_case(pick(rng, _OUTPUTS), case)
    segments: Document = []
    if rng.random() < (0.2 if meaningless else 0.5):
        segments.append((pick(rng, _ORDERS) + ", ".join(labels.values()) + ".\n", 0.1))
    between = pick(rng, ("\n", "\n", "\n\n"))
    for index, (text, answer) in enumerate(pairs):
        last = index == len(pairs) - 1
        first = (0.15, 0.6) if meaningless else (0.5, 1.0)
        segments.append((f" {head}:{text}\n {tail}:", 0.1))
        segments.append((answer + ("" if last else between), first[index] if index < 2 else 1.0))
    return segments


def make_questions(rng: random.Random, budget: int) -> Document:
    """One or two passages and questions for many labels on each: one line for each label."""
    domain = _domain(rng, 0.55)
    join = pick(rng, (", ", "; ", " and "))
    colon = pick(rng, (":", "?", " ="))
    empty = pick(rng, ("none", "no", "nil"))
    head = pick(rng, _INPUTS)
    label_case, case = draw_label_case(rng), draw_case(rng)
    asks_for_label = rng.random() < 0.25
    segments: Document = []
    for _ in range(pick(rng, (1, 2)) if budget > 300 else 1):
        text, spans = draw_passage(rng, domain, 1 + int(rng.random() * 3), case)
        segments.append((f" {apply_case(head, label_case)}:{text}\n", 0.1))
        if asks_for_label:
            for slot, span in rng.sample(spans, min(len(spans), 4)):
                label = apply_case(domain.labels[slot][0], label_case)
                segments += [(f" {span}{colon}", 0.05), (f" {label}\n", 1.0)]
            continue
        slots = list(domain.fillers)
        for slot in rng.sample(slots, 2 + int(rng.random() * (len(slots) - 1))):
            answers = without_duplicates([span for key, span in spans if key == slot])
            question = apply_case(pick(rng, domain.labels[slot]), label_case)
            answer = join.join(answers) or empty
            segments += [(f" {question}{colon}", 0.05), (f" {answer}\n", 1.0)]
    return segments


def make_dialogue_questions(rng: random.Random, budget: int) -> Document:
    """Questions in sentences on one passage: which, first, is there, what is."""
    domain = _domain(rng, 0.7)
    text, spans = draw_passage(
        rng, domain, 1 + int(rng.random() * (4 if budget > 300 else 2)), draw_case(rng)
    )
    segments: Document = [(f" {pick(rng, ('Context', 'Passage', 'text'))}:{text}\n", 0.2)]
    ask, reply = pick(rng, (("Q:", "A:"), ("q:", "a:"), ("Question:", "Answer:")))
    slots = list(domain.fillers)
    for slot in rng.sample(slots, min(3, len(slots))):
        answers = without_duplicates([span for key, span in spans if key == slot])
        label = pick(rng, domain.labels[slot])
        choice = rng.random()
        if choice < 0.5:
            question, answer = f"which {label} is named?", ", ".join(answers) or "not given"
        elif choice < 0.75:
            question, answer = f"first {label}?", (answers or ["not given"])[0]
        else:
            question = f"is there a {label}?"
            answer = f"yes, {answers[-1]}" if answers else "no"
        segments += [(f" {ask} {question}\n {reply}", 0.1), (f" {answer}\n", 1.0)]
    if spans and rng.random() < 0.5:
        slot, span = pick(rng, spans)
        segments += [(f" {ask} what is {span}?\n {reply}", 0.1)]
        segments += [(f" {domain.labels[slot][0]}\n", 1.0)]
    return segments


_SECTIONS = ("HISTORY:", "EXAM:", "COURSE:", "IMPRESSION:", "PLAN:", "History:", "Labs:", "Today:")


def make_note(rng: random.Random, budget: int) -> Document:
    """Sentences of a clinical note, often followed by a line that repeats a part of them."""
    count = 2 + int(rng.random() * (5 if budget > 300 else 3))
    text, spans = draw_passage(rng, PROSE, count, draw_case(rng))
    if rng.random() < 0.3:
        text = f" {pick(rng, _SECTIONS)}{text}"
    segments: Document = [(text + "\n", 0.6)]

    def values(slot: str) -> list[str]:
        return without_duplicates([span for key, span in spans if key == slot])

    choice = rng.random()
    if choice < 0.3:
        parts = values("illness")[:2] + values("exam")[:1] + values("drug")[:2]
        segments += [(" In short:", 0.3), (f" {'; '.join(parts) or 'nothing new'}.\n", 1.0)]
    elif choice < 0.5:
        segments += [(" Takes:", 0.3), (f" {' and '.join(values('drug')) or 'nothing'}\n", 1.0)]
    elif choice < 0.65:
        illness = " and ".join(values("illness")) or "nothing"
        segments += [(" ILLS:", 0.3), (f" {illness}\n", 1.0)]
    elif choice < 0.8:
        tokens = text.split()
        start = int(rng.random() * len(tokens))
        quoted = tokens[start : start + 14]
        segments += [(f" Quote: {' '.join(quoted[:2])}", 0.2)]
        segments += [(f" {' '.join(quoted[2:])}\n", 1.0)]
    return segments


def make_dialogue(rng: random.Random, _budget: int) -> Document:
    """A short dialogue of two people and a line that says what was agreed."""
    first, second = draw_name(rng).split()[0], draw_name(rng).split()[0]
    thing, city = draw_phrase(rng), draw_name(rng)
    day, amount = draw_date(rng), draw_quantity(rng)
    hello = pick(rng, ("Hi", "Hello", "Good day", "Hey"))
    bye = pick(rng, ("Ok", "Fine", "Sure", "Good"))
    dialogues = (
        (f"{first}: {hello} {second}, did you get the {thing}?\n "
         f"{second}: Yes, {amount} from {city}.\n {first}: {bye}.",
         f"{second} got {amount} of {thing} from {city}."),
        (f"{first}: {hello}, when do you go to {city}?\n {second}: On {day}, with {thing}.\n "
         f"{first}: {bye}, bye.", f"{second} goes to {city} on {day} with {thing}."),
        (f"{first}: {hello} {second}. The {thing} is broken.\n "
         f"{second}: {bye}, I will come on {day}.\n {first}: Thanks.",
         f"{second} will fix the {thing} of {first} on {day}."),
        (f"{first}: {second}, can you buy {amount} of {thing}?\n {second}: No, only in {city}.\n "
         f"{first}: {bye}.", f"{first} wants {amount} of {thing}, sold in {city}."),
    )  # fmt: skip
    dialogue, line = pick(rng, dialogues)
    head = pick(rng, ("\n Summary:", "\n in one line:", "\n TL;DR:"))
    return [(f" {dialogue}{head}", 0.15), (f" {line}\n", 1.0)]


Maker = Callable[[random.Random, int], Document]

#: Every sentence frame of the corpus, so that a benchmark can check that it shares none.
FRAMES: tuple[str, ...] = tuple(
    frame for domain in (*EVERYDAY, CLINICAL, PROSE) for frame in domain.frames
)

MAKERS: Mapping[str, Maker] = {
    "episode": make_episode,
    "questions": make_questions,
    "dialogue_questions": make_dialogue_questions,
    "repeat": make_repeat,
    "key_values": make_key_values,
    "lists": make_lists,
    "marked": make_marked,
    "convert": make_convert,
    "recase": make_recase,
    "note": make_note,
    "dialogue": make_dialogue,
}

#: Relative frequency of documents while copying is learned, and after that.
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
        """One document of at most about `budget` letters, of a type drawn from `mix`."""
        document_type = self._rng.choices(tuple(mix), tuple(mix.values()))[0]
        segments = MAKERS[document_type](self._rng, budget)
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


def document_text(document: Document) -> str:
    """The document as one string."""
    return "".join(text for text, _ in document)


@dataclass(frozen=True)
class Stage:
    """A part of the run with one row length and one mix of documents."""

    share: float
    length: int
    rows: int
    mix: Mapping[str, float]


#: About 3,072 tokens a step. The last rows are as long as a prompt with five few-shot examples.
STAGES: tuple[Stage, ...] = (
    Stage(0.08, 96, 32, COPYING_FIRST),
    Stage(0.30, 192, 16, MIXED),
    Stage(0.37, 384, 8, MIXED),
    Stage(0.25, 768, 4, MIXED),
)
_WARM_UP = 60
_HOLD = 0.35
_FLOOR = 0.03


def stage_steps(stage: Stage, tokens: int) -> int:
    """Steps of a stage in a run of `tokens` tokens; at least one."""
    return max(1, round(stage.share * tokens / (stage.length * stage.rows)))


def learning_rate_factor(step: int, progress: float) -> float:
    """Warm-up, hold, cosine to 3 %; `progress` is the share of tokens seen."""
    warm = min(1.0, (step + 1) / _WARM_UP)
    if progress < _HOLD:
        return warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _HOLD) / (1 - _HOLD))))
    return warm * (_FLOOR + (1 - _FLOOR) * cosine)


def step_chunks(tokens: int, steps_per_chunk: int) -> Iterator[tuple[Stage, int]]:
    """The run in chunks: each a stage and a number of its steps."""
    for stage in STAGES:
        remaining = stage_steps(stage, tokens)
        while remaining > 0:
            count = min(remaining, steps_per_chunk)
            yield stage, count
            remaining -= count
