"""Clinical sentence frames: one domain with labels, and notes in prose.

The label words and the frames are this corpus's own; no benchmark task uses them.
"""

import random

from harness.embedded import fillers, words
from harness.embedded.frames import Domain, domain


def _frequency(rng: random.Random) -> str:
    return words.pick(
        rng,
        ("once a day", "in the morning", "each night", "with meals", "q6h", "BID", "every week",
         "two times a day", "when required", "on even days"),
    )  # fmt: skip


def _age(rng: random.Random) -> str:
    return str(18 + int(rng.random() * 78))


def _small(rng: random.Random) -> str:
    return str(1 + int(rng.random() * 12))


def _large(rng: random.Random) -> str:
    return str(40 + int(rng.random() * 200))


CLINICAL: Domain = domain(
    "clinical",
    {
        "drug": (fillers.drug, "drug medicine agent pill pharmaceutical"),
        "strength": (fillers.strength, "strength amount dose how-much"),
        "illness": (fillers.illness, "illness problem complaint diagnosis disease"),
        "exam": (fillers.examination, "operation exam test intervention surgery"),
        "doctor": (fillers.physician, "doctor clinician physician"),
        "often": (_frequency, "frequency schedule how-often"),
        "day": (fillers.date, "date day when"),
    },
    """
    {doctor} prescribed {drug} {strength} against {illness}.
    the man came in with {illness}.
    on {drug} and {drug} at home.
    we gave {drug} {strength}.
    {exam} done by {doctor} last year.
    {illness} improved after {exam}.
    dose of {drug} now {strength}.
    stop {drug}.
    she has {illness}, {illness} and {illness}.
    booked for {exam} on {day}.
    after {exam} he developed {illness}.
    no new complaints.
    took {strength} of {drug} {often} for the {illness}.
    {exam} and {exam} were normal.
    {doctor} suspects {illness}.
    wife says he forgot {drug}.
    {strength} {drug} at noon.
    because of {illness} we did {exam}.
    {illness} ruled out by {exam}.
    {drug} raised to {strength} {often}.
    {drug}, {strength}, {often}.
    before {exam} hold {drug}.
    {exam} scheduled with {doctor}.
    mild {illness} only.
    still on {drug} {strength} {often} for {illness}.
    awaiting {exam}.
    known for {illness} since {exam} in {day}.
    {drug} and {drug} stopped before {exam}.
    came for {exam}, has {illness}.
    allergic to {drug}.
    father had {illness}.
    her {illness} is under control with {drug}.
    {drug} {strength} by mouth {often}.
    {doctor} will order {exam}.
    impression is {illness} with {illness}.
    home drugs are {drug} {strength}, {drug} {strength} and {drug}.
    {illness} first seen on {day}.
    slept well, eats well.
    {day}: {exam}.
    {exam} on {day} showed {illness}.
    not a candidate for {exam}.
    could not tolerate {drug}; now takes {drug} {strength}.
    {doctor} stopped {drug} on {day} when {illness} was found.
    {illness} got worse off {drug}.
    pharmacy was out of {drug} {strength}.
    worried about {illness}.
    chart mentions {illness}, {exam} and {drug}.
    {drug} {strength} x {often}, then {exam}.
    """,
)

PROSE: Domain = domain(
    "prose",
    {
        "age": (_age, "age"),
        "who": (lambda rng: words.pick(rng, ("man", "woman", "lady", "teacher")), "who"),
        "drug": (fillers.drug, "drug"),
        "strength": (fillers.strength, "strength"),
        "illness": (fillers.illness, "illness"),
        "exam": (fillers.examination, "exam"),
        "doctor": (fillers.physician, "doctor"),
        "often": (_frequency, "frequency"),
        "day": (fillers.date, "date"),
        "small": (_small, "small"),
        "large": (_large, "large"),
    },
    """
    {age} year old {who} seen in clinic for {illness}.
    he reports {illness} since {day}.
    vital signs: pulse {large}, pressure {large} over {large}.
    lungs are clear, heart is regular.
    abdomen is soft and not tender.
    home drugs are {drug} and {drug}.
    {drug} {strength} by mouth {often}.
    labs: sodium {large}, potassium 4.{small}, glucose {large}.
    {exam} on {day} was without complication.
    she feels better today and wants to go home.
    plan is to keep {drug} and recheck in {small} weeks.
    the wound is dry and clean.
    impression is {illness} with {illness}.
    sleep and appetite are good.
    we will order {exam}.
    walks without help.
    smokes {small} cigarettes a day.
    {doctor} was called and advised {exam}.
    reason for visit: {illness}.
    review of systems is otherwise negative.
    saturation {large} on room air.
    the {who} was seen {small} days ago for {illness}.
    the family was told about {illness} and agreed to {exam}.
    he takes {drug} {strength} {often} and nothing else.
    no fever, no cough.
    return if {illness} comes back.
    """,
)
