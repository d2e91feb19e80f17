"""Sentence frames: a clinical domain with labels, clinical prose, and everyday domains.

No benchmark task uses the label words or the frames. In most domains several slots take the same
type of string, so that only the frame determines which span belongs to which label: selection by
label, not copying, is what limits a model of this size.
"""

import random

from harness.embedded.recipe import text
from harness.embedded.recipe.text import Domain, make_domain


def _frequency(rng: random.Random) -> str:
    return text.pick(
        rng,
        ("once a day", "in the morning", "each night", "with meals", "q6h", "BID", "every week",
         "two times a day", "when required", "on even days"),
    )  # fmt: skip


def _age(rng: random.Random) -> str:
    return str(18 + int(rng.random() * 78))


def _who(rng: random.Random) -> str:
    return text.pick(rng, ("man", "woman", "lady", "teacher", "farmer", "student", "girl"))


def _small(rng: random.Random) -> str:
    return str(1 + int(rng.random() * 12))


def _large(rng: random.Random) -> str:
    return str(40 + int(rng.random() * 200))


CLINICAL: Domain = make_domain(
    "clinical",
    {
        "drug": (text.draw_drug, "drug medicine agent pill pharmaceutical"),
        "strength": (text.draw_strength, "strength amount dose how-much"),
        "illness": (text.draw_illness, "illness problem complaint diagnosis disease"),
        "exam": (text.draw_examination, "operation exam test intervention surgery"),
        "doctor": (text.draw_physician, "doctor clinician physician"),
        "often": (_frequency, "frequency schedule how-often"),
        "day": (text.draw_date, "date day when"),
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

PROSE: Domain = make_domain(
    "prose",
    {
        "age": (_age, "age"),
        "who": (_who, "who"),
        "drug": (text.draw_drug, "drug"),
        "strength": (text.draw_strength, "strength"),
        "illness": (text.draw_illness, "illness"),
        "exam": (text.draw_examination, "exam"),
        "doctor": (text.draw_physician, "doctor"),
        "often": (_frequency, "frequency"),
        "day": (text.draw_date, "date"),
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


_THING = text.draw_phrase
_NAME = text.draw_name
_DATE = text.draw_date
_CODE = text.draw_code
_MONEY = text.draw_money

TRAVEL = make_domain(
    "travel",
    {
        "who": (_NAME, "person traveller who passenger"),
        "city": (_NAME, "city place where town"),
        "day": (_DATE, "date when day"),
        "vehicle": (_THING, "vehicle transport means"),
        "hotel": (_NAME, "hotel lodging inn"),
    },
    """
    {who} went to {city} on {day}.
    on {day} {who} took the {vehicle} to {city}.
    {who} and {who} stayed in {city}.
    the {vehicle} from {city} was late.
    {who} will leave {city} by {vehicle} on {day}.
    it rained all day.
    in {city}, {who} met {who}.
    {who} missed the {vehicle}.
    {who} slept at the {hotel}.
    rooms at the {hotel} in {city} are small.
    """,
)
BUSINESS = make_domain(
    "business",
    {
        "firm": (_NAME, "company firm business"),
        "sum": (_MONEY, "sum price cost value"),
        "offer": (_THING, "product service offer"),
        "head": (_NAME, "director manager boss"),
        "rival": (_NAME, "rival competitor opponent"),
    },
    """
    {firm} sold {offer} for {sum}.
    {head} of {firm} announced {offer}.
    {firm} paid {sum} in tax.
    shares of {firm} fell.
    {head} expects {sum} from {offer}.
    the price of {offer} rose to {sum}.
    {head} left {firm}.
    markets were closed.
    {firm} fears {rival}.
    {rival} copied {offer} of {firm}.
    {firm} hired {head} away from {rival}.
    """,
)
TRADE = make_domain(
    "trade",
    {
        "seller": (_NAME, "seller vendor giver from"),
        "buyer": (_NAME, "buyer customer receiver to"),
        "good": (_THING, "thing object ware"),
        "change": (_THING, "exchange return payment"),
    },
    """
    {seller} sold {good} to {buyer}.
    {buyer} got {good} from {seller}.
    {buyer} gave {change} for {good}.
    for {good}, {seller} wants {change}.
    {seller} offers {good}.
    {buyer} is looking for {good}.
    {seller} keeps {change} and hands over {good}.
    {seller} and {buyer} could not agree.
    {good} was swapped for {change}.
    the shop stayed shut.
    """,
)
MATCH = make_domain(
    "match",
    {
        "winner": (_NAME, "winner champion first best"),
        "loser": (_NAME, "loser second beaten"),
        "game": (_THING, "game sport contest"),
        "judge": (_NAME, "judge referee umpire"),
    },
    """
    {winner} beat {loser} at {game}.
    {loser} lost to {winner}.
    {loser} was defeated in the {game} by {winner}.
    {judge} saw {winner} win.
    {judge} sent {loser} off.
    the {game} was watched by {judge}.
    {winner} won the {game}.
    neither side scored.
    {game} and {game} are played in the hall.
    after the {game} {loser} cried.
    """,
)
SCHOOL = make_domain(
    "school",
    {
        "teacher": (_NAME, "teacher tutor professor"),
        "pupil": (_NAME, "pupil student learner"),
        "field": (_THING, "field course lesson"),
        "book": (_THING, "book text reader"),
        "room": (_CODE, "room hall location"),
    },
    """
    {teacher} teaches {field} in {room}.
    {pupil} learns {field} from {teacher}.
    {pupil} forgot the {book}.
    {teacher} praised {pupil} and {pupil}.
    for {field} you need {book}.
    {room} is locked.
    {field} moved to {room}.
    holidays begin soon.
    {pupil} asked {teacher} about {field}.
    {book} was left in {room} by {pupil}.
    """,
)
FAMILY = make_domain(
    "family",
    {
        "elder": (_NAME, "parent mother father"),
        "child": (_NAME, "child son daughter"),
        "town": (_NAME, "home town birthplace"),
        "job": (_THING, "job trade profession"),
        "pet": (_NAME, "pet dog cat"),
    },
    """
    {child} is the child of {elder}.
    {elder} raised {child} and {child} in {town}.
    {elder} works in {job}.
    {child} wants to go into {job}.
    {child} was born in {town}.
    {elder} bought a dog called {pet}.
    {pet} ran away from {child}.
    they never write.
    from {town} came {elder}.
    {child} feeds {pet}.
    """,
)
COURT = make_domain(
    "court",
    {
        "accused": (_NAME, "accused defendant suspect"),
        "victim": (_NAME, "victim plaintiff complainant"),
        "charge": (_THING, "charge crime offence"),
        "lawyer": (_NAME, "lawyer counsel advocate"),
        "day": (_DATE, "hearing date day"),
    },
    """
    {accused} is charged with {charge}.
    {victim} sued {accused} over {charge}.
    {lawyer} speaks for {accused}.
    {lawyer} asked {victim} about {charge}.
    the hearing is on {day}.
    {accused} denied {charge} and {charge}.
    on {day} {victim} withdrew.
    the court rose early.
    {victim} fears {accused}.
    """,
)


_QUANTITY = text.draw_quantity

FREIGHT = make_domain(
    "freight",
    {
        "goods": (_THING, "item goods product cargo article"),
        "load": (_QUANTITY, "amount quantity load size"),
        "city": (_NAME, "city destination place port"),
        "carrier": (_NAME, "carrier shipper company sender"),
    },
    """
    {carrier} ships {load} of {goods} to {city}.
    {goods} ({load}) left {city} on time.
    the load of {goods} was refused in {city}.
    {carrier} will bring {goods} and {goods} next week.
    {load} of {goods} arrived from {city}.
    carrier {carrier} lost {load} in {city}.
    please send {goods} to {city} by {carrier}.
    no delivery today.
    {city} ordered {goods}, {load}.
    {goods} for {city}, {goods} for {city}.
    {carrier} does not go to {city}.
    the store asked {carrier} for {goods}.
    """,
)
BOOKS = make_domain(
    "books",
    {
        "title": (_THING, "title book work volume"),
        "author": (_NAME, "author writer creator"),
        "year": (_DATE, "date year published"),
        "topic": (_THING, "topic subject theme"),
    },
    """
    {author} wrote {title} in {year}.
    the book {title} is about {topic}.
    {title} by {author} was returned on {year}.
    readers of {author} like {topic}.
    a new copy of {title} came on {year}.
    {author} and {author} edited {title}.
    the shelf for {topic} is full.
    nobody asked for it.
    {title} covers {topic} and {topic}.
    he borrowed {title} and read up on {topic}.
    critics found {title} dull.
    """,
)
KITCHEN = make_domain(
    "kitchen",
    {
        "dish": (_THING, "dish meal recipe food"),
        "part": (_THING, "ingredient component addition"),
        "much": (_QUANTITY, "amount measure quantity"),
        "cook": (_NAME, "cook chef maker"),
    },
    """
    {cook} makes {dish} with {part}.
    add {much} of {part} and stir.
    {dish} needs {part}, {part} and {much} of {part}.
    serve {dish} warm.
    mix {part} with {much} {part}.
    chef {cook} is known for {dish}.
    cover and wait one hour.
    without {part} the {dish} is dull.
    {cook} burnt the {dish} again.
    fold in {part} before the {dish} sets.
    """,
)
WORKSHOP = make_domain(
    "workshop",
    {
        "device": (_THING, "device machine unit equipment"),
        "fault": (_THING, "fault defect error failure"),
        "owner": (_NAME, "engineer technician worker owner"),
        "code": (_CODE, "code part id number"),
    },
    """
    {owner} reported {fault} on {device}.
    {device} shows {fault}, part {code} replaced.
    {code} was ordered for {device}.
    the {device} is working again.
    after {fault} the {device} was stopped.
    {owner} fixed {fault} with {code}.
    {device} and {device} checked, no change.
    nothing else to note.
    {device} failed because of {fault}.
    first {fault}, then {fault}, said {owner}.
    switch off the {device} when you see {fault}.
    """,
)
GARDEN = make_domain(
    "garden",
    {
        "plant": (_THING, "plant crop tree flower"),
        "pest": (_THING, "pest disease problem"),
        "tool": (_THING, "tool method remedy"),
        "much": (_QUANTITY, "amount dose quantity"),
    },
    """
    {plant} suffers from {pest}.
    spray {plant} with {tool}, {much} weekly.
    {pest} was seen on {plant} and {plant}.
    apply {much} of {tool} for {pest}.
    the {plant} is healthy.
    use {tool} against {pest}.
    {tool} was done on {plant}.
    the {plant} with {pest} needs {tool}.
    rain is expected.
    no {pest} since we tried {tool}.
    {much} of {tool} is too much for {plant}.
    """,
)
SOFTWARE = make_domain(
    "software",
    {
        "program": (_NAME, "program app tool software"),
        "bug": (_THING, "bug issue crash"),
        "version": (_CODE, "version release build"),
        "developer": (_NAME, "developer programmer maintainer"),
        "feature": (_THING, "feature function option"),
    },
    """
    {program} crashes with {bug} since {version}.
    {developer} added {feature} in {version}.
    {bug} was fixed by {developer}.
    {feature} of {program} is slow.
    {version} is out.
    {developer} removed {feature} because of {bug}.
    users of {program} miss {feature}.
    all checks passed.
    {program} {version} has {feature} and {feature}.
    could not reproduce {bug}.
    """,
)
NATURE = make_domain(
    "nature",
    {
        "hunter": (_THING, "hunter predator eater"),
        "prey": (_THING, "prey victim food"),
        "place": (_NAME, "region habitat area"),
        "count": (text.draw_number, "count total number"),
        "season": (_DATE, "season time date"),
    },
    """
    the {hunter} eats {prey}.
    {prey} hides from the {hunter}.
    {count} {hunter} were counted in {place}.
    in {place} live {prey} and {prey}.
    since {season} the {prey} is rare.
    no tracks were found.
    {place} has lost its {hunter}.
    we saw {count} of the {prey} on {season}.
    """,
)

#: In the order in which documents draw them: another order is another corpus.
EVERYDAY: tuple[Domain, ...] = (
    FREIGHT, BOOKS, KITCHEN, TRAVEL, WORKSHOP, BUSINESS, GARDEN,
    TRADE, MATCH, SCHOOL, FAMILY, SOFTWARE, COURT, NATURE,
)  # fmt: skip
