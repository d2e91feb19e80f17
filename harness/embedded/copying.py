"""Documents that can be solved only by copying strings nobody has seen before.

Copying comes first: it appears as a jump after some two million tokens, and without it no
adapter gets anywhere on unseen entities.
"""

import json
import random
from collections.abc import Sequence

from harness.embedded import fillers, words
from harness.embedded.clinical import CLINICAL, PROSE
from harness.embedded.everyday import EVERYDAY
from harness.embedded.sentences import Document, any_case, passage
from harness.embedded.words import pick

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
