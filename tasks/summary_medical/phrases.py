"""What doctor and patient say: patterns, each of which makes lines for every split.

A pattern has two places of two wordings, `[this|that]`, and so makes four lines. Training has two
of them, first with first and second with second; validation has first with second, test second
with first. So no line of validation or test is built like one of training, or of the other,
though every word of it stands in training. `/` parts a question of the doctor's from the patient's
answer. Names in braces are slots.

Knows nothing of names, numbers or notes.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"\[([^]|]*)\|([^]|]*)\]")


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines())


PATTERNS: dict[str, tuple[str, ...]] = {
    # the doctor's first line
    "opening": _lines("""
        [Hello|Good day], {person}. [You are|Are you] {age}?
        [Come in|Hi], {person}. So you are {age}[, right?|?]
        {person}, age {age}? What [can I do|is it] [today|now]?
    """),
    # what the patient says of that age
    "right": ("[Yes|Right][, I am.|.]",),
    "wrong": ("[No,|Sorry,] {age}[ now.|.]",),
    "chat": _lines("""
        The [bus|train] was [late|full].
        My [wife|brother] drove me [here|today].
        I [sat|waited] {minutes} minutes [outside|at the door].
        My [son|girl] is {other_age} [now|today].
        It is [cold|warm] [today|outside].
    """),
    # the complaint; `does` is "hurts", `did` "has hurt"
    "part_since": _lines("""
        [Doctor, my|My] {where} {did} {since}[, a lot.|.]
        [I came because|I am here as] my {where} {did} {since}[.|, you see.]
        It is my {where}[,| again,] it {did} {since}[ now.|.]
    """),
    "part_ago": _lines("""
        My {where} {does}[. It| and it] [began|started] {ago} ago.
        [Doctor, my|My] {where} {does}, it came {ago} ago[.|, I think.]
    """),
    "symptom_since": _lines("""
        [Doctor, I|I] have had {symptom} {since}[.|, a lot.]
        [I came because|I am here as] I have had {symptom} {since}[ now.|.]
    """),
    "symptom_ago": _lines("""
        I have {symptom}[. It| and it] [began|started] {ago} ago.
        [Doctor, I|I] get {symptom}, it came {ago} ago[, I think.|.]
    """),
    "other_side": ("[Sorry|No, sorry], [the|I mean the] {side} one.",),
    "other_time": ("[No, wait|Or rather], {ago}[.| by now.]",),
    # questions with their answers
    "worse": ("[When is it worse|What makes it worse]? / [Mostly|It is worse] {worse}.",),
    "better": ("[Does anything help|What helps]? / [A bit of|Only] {better}.",),
    "score": ("[How bad is it|How strong], 0 to 10? / [I say|About] {score}.",),
    "sign_no": ("[Any|Do you have] {sign}? / [No|Not that].",),
    "sign_yes": ("[Any|Do you have] {sign}? / [Yes|A bit].",),
    "sign_one": ("[Any|Do you have] {absent} or {sign}? / [Only|Just] {sign}.",),
    "history": _lines("""
        [Other|Any old] illness? / [I have|Just] {history}.
        [Anything|What] else? / I [live with|have] {history}.
    """),
    "history_kin": ("[Other|Any old] illness? / My [mother|father] has {kin}, I have {history}.",),
    "drug": _lines("""
        What [do you|pills do you] take? / [I take|Just] {drug}.
        [Any|Other] drugs? / [Only|I take] {drug}.
    """),
    "drug_new": ("[Any|Other] drugs? / Not {old} [any more|now], I take {drug}.",),
    "allergy": ("[Allergies|Any allergy]? / [Just|Only] to {allergy}.",),
    # the doctor's last line
    "test": _lines("""
        [We will do|Let us do] {test} and [meet|talk] in {review}.
        You need {test}[. Come| and come] back [in|after] {review}.
    """),
    "treat": _lines("""
        [Please take|I give you] {treat} for {course}[, then call.|.]
        [Try|Start] {treat} [for|over] {course}.
    """),
    "refer": ("[I will send|Let me send] you to {clinic}[, is that fine?|.]",),
    "refer_test": ("[You need|We do] {test}, then I [send|refer] you to {clinic}.",),
    "thanks": ("[Thank you|Thanks][.|, doctor.]",),
}

#: Which wording stands in a pattern's first place and which in its second.
WORDINGS = {"train": ((0, 0), (1, 1)), "validation": ((0, 1),), "test": ((1, 0),)}


def line(pattern: str, wording: tuple[int, int]) -> str:
    """The line that a pattern makes with one wording in each of its two places."""
    chosen = iter(wording)
    return _PLACE.sub(lambda place: place[1 + next(chosen)], pattern)


#: The lines of each split by what they are for.
LINES = {
    split: {
        use: tuple(line(pattern, each) for pattern in patterns for each in wordings)
        for use, patterns in PATTERNS.items()
    }
    for split, wordings in WORDINGS.items()
}
