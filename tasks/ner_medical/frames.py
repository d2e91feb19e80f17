"""Sentence frames of the generator: patterns, each of which makes frames for every split.

A frame is a sentence with slots. `{M1}` is a drug, `{D1}` a dose of that drug and `{E1}` another
one, `{C1}` a condition, `{P1}` a procedure; numbers tell several apart. What stands in the other
slots (`{often}`, `{when}`, `{date}`, `{doctor}`, `{who}`, `{age}`, `{few}`, `{glucose}`, ...) is
no entity. Negated mentions and those of relatives are entities like any other.

A pattern has two places of two wordings, `[this|that]`, and so makes four frames. Training has
two of them, first with first and second with second; validation has first with second, test second
with first. So no sentence of validation or test is built like one of training, or of the other,
though every word of it stands in training.

Styles: `full` sentences, `terse` telegraphic ones, and `quiet` and `quiet_terse` ones, which have
no entity at all: vital signs, laboratory values, social history, arrangements.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"\[([^]|]*)\|([^]|]*)\]")


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines())


PATTERNS: dict[str, tuple[str, ...]] = {
    "full": _lines("""
        [He|She] was [started on|prescribed] {M1} {D1} {often} for {C1}.
        [The patient|He] [takes|is taking] {M1} {D1} {often}.
        [Continue|We continue] {M1} {D1} {often} [for|for the] {C1}.
        [We will|Please] [increase|reduce] {M1} from {D1} to {E1} {often}.
        [Discharged|Sent home] [on|with] {M1} {D1} and {M2} {D2}.
        [Known|Chronic] {C1}, [treated with|on] {M1} for {few} years.
        [He|She] [was diagnosed with|developed] {C1} and underwent {P1} {when}.
        [This|The] {age}-year-old {who} with {C1} [presents|comes in] for {P1}.
        The plan is {P1} [next week|next month][, followed by| and then] {M1} {D1}.
        {P1} was [performed|done] {when} without [complications|problems].
        {P1} [showed|revealed] no [acute|new] findings.
        [Previous|Past] operations included {P1} [and|as well as] {P2}.
        [Family|His family] history is [positive|significant] for {C1}.
        There [is|was] no [evidence|sign] of {C1}.
    """),
    "terse": _lines("""
        [PMH|Past hx]: {C1} and {C2}[|, stable].
        [PSH|Past surg]: {P1} ({year})[,| and] {P2}.
        [Meds|Home meds]: {M1} {D1}[,| and] {M2} {D2}.
        [Hx|H/o] {C1}, [on|now on] {M1}.
        [A/P|Plan]: {C1}, [cont|start] {M1} {D1} {often}.
        [s/p|Had] {P1} [|on ]{date}.
    """),
    "quiet": _lines("""
        Glucose [was|is] {glucose} mg/dL[ and| with] creatinine {decimal} mg/dL.
        [Blood|The blood] pressure was {systolic}/{diastolic} mmHg [with|and] a pulse of {pulse}.
        Temperature [was|is] {temperature} C and oxygen saturation {percent} %[| on room air].
        [He|She] lives [with family|alone] and does not smoke.
        Please [return|come back] in {few} [weeks|months].
    """),
    "quiet_terse": _lines("""
        BP {systolic}/{diastolic}, [HR|P] {pulse}, [T|temp] {temperature}.
        [Labs|Chem]: Na {sodium}, K {decimal}, [Cr {decimal}|glucose {glucose}] mg/dL.
        [f/u|Back] {few} [wks|mo] w/ {doctor}.
    """),
}

#: Which wording stands in a pattern's first place and which in its second.
WORDINGS = {"train": ((0, 0), (1, 1)), "validation": ((0, 1),), "test": ((1, 0),)}


def frame(pattern: str, wording: tuple[int, int]) -> str:
    """The frame that a pattern makes with one wording in each of its two places."""
    chosen = iter(wording)
    return _PLACE.sub(lambda place: place[1 + next(chosen)], pattern)


#: The frames of each split and style.
FRAMES = {
    split: {
        style: tuple(frame(pattern, each) for pattern in patterns for each in wordings)
        for style, patterns in PATTERNS.items()
    }
    for split, wordings in WORDINGS.items()
}
