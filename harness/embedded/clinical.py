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


def _who(rng: random.Random) -> str:
    return words.pick(rng, ("man", "woman", "lady", "teacher", "farmer", "student", "girl"))


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
        "age": (_age, "age years"),
        "value": (_large, "value reading level result"),
        "who": (_who, "person who subject"),
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
    this {who} of {age} suffers from {illness}.
    {who}, {age}, here about {illness}.
    {who} aged {age}: {illness}, {illness}.
    a {who} with long {illness} asks for {exam}.
    pulse {value}, pressure {value} over {value}, weight {value}.
    sugar {value}, salt {value}.
    lab work came back at {value} and {value}.
    the {who} sleeps {value} minutes and walks {value} steps.
    sugar of {value} despite {drug} {strength}.
    pressure {value} over {value} on {drug}.
    issues: {illness}; {illness}.
    issues: {illness}, {illness}, {illness}.
    old operations: {exam}, {exam}.
    old operations: {exam} in {day}.
    pills: {drug} {strength}, {drug} {strength}.
    pills: {drug}, {drug}, {drug}.
    pills now: {drug} {strength} {often}; {drug} {strength} {often}.
    for today: {exam}.
    to do: {exam}, {exam}.
    to do: {drug} {strength} {often}.
    reason: {illness}. next: {exam}.
    {illness} / {drug} {strength}.
    {illness} --> {exam}.
    {illness}: give {drug} {strength} {often}.
    {illness}: better on {drug}.
    {drug} {strength} -> {strength}.
    {drug} off, {drug} {strength} on.
    {drug} ({strength}) for {illness}.
    {exam} ({day}): nothing found.
    {exam} {day}, {doctor}.
    in {day} {exam}, since then {illness}.
    no {illness}, no {illness}.
    never had {illness} or {illness}.
    denies {illness}.
    brother and uncle with {illness}.
    {illness} runs on both sides.
    an aunt died of {illness} at {age}.
    the {who} got {strength} of {drug} in the ward.
    a first dose of {drug} {strength} was given at {doctor}'s request.
    {drug} seems to help with the {illness}.
    {drug} did nothing for {illness}.
    side effects of {drug} led us to {drug}.
    instead of {drug} we chose {drug} {strength} {often}.
    {strength} {often} of {drug} is the most we can give.
    cut {drug} down to {strength}.
    {drug} goes from {strength} to {strength}.
    add {drug} {strength} {often} to {drug}.
    new script: {drug} {strength}, {often}.
    {drug} {often} keeps {illness} away.
    we agreed on {drug} {strength} {often} as well as {exam}.
    {who} prefers {drug} to {drug}.
    {exam} turned up {illness}.
    {exam} is the next step.
    {exam} was put off until {day}.
    {exam} was easy and brief.
    {exam} cannot wait.
    {exam} and later {exam} explained the {illness}.
    signed the form for {exam}.
    {doctor} did {exam} on this {who}.
    {doctor} asks for {exam} given the {illness}.
    {doctor} sees no need for {exam}.
    {doctor}: likely {illness}.
    it could be {illness} or {illness}.
    findings fit with {illness}.
    course made harder by {illness}.
    {illness} is gone.
    {illness} came back on {day}.
    {illness} and {illness} explain it.
    {illness} keeps the {who} in bed.
    {illness} with {illness}, now {exam}.
    brought in with {illness}, left with {drug} {strength}.
    sent home with {drug} {strength} {often} and {drug} {strength} {often}.
    treated for {illness} with {drug}, {drug} and {exam}.
    {illness}, treated: {drug} {strength}.
    lives alone, likes to cook.
    no smoke, no drink.
    back in a month.
    call if worse.
    all questions were answered.
    """,
)

PROSE: Domain = domain(
    "prose",
    {
        "age": (_age, "age"),
        "who": (_who, "who"),
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
