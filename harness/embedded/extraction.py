"""Documents that ask for spans by label: episodes of worked examples, questions on a passage.

They teach an adapter's one hard part, choosing the span that fits the label, and in the episodes
with labels that mean nothing, learning a label from a few examples in the prompt.
"""

import random

from harness.embedded import words
from harness.embedded.clinical import CLINICAL
from harness.embedded.everyday import EVERYDAY
from harness.embedded.frames import Domain
from harness.embedded.layouts import Layout, any_label_case, any_layout, in_case, unique
from harness.embedded.sentences import INVENTED, Document, any_case, invented_domain, passage
from harness.embedded.words import pick

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
