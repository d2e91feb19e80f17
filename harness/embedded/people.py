"""Sentence frames of the domains in which people deal with each other."""

from harness.embedded import fillers, words
from harness.embedded.frames import domain

_THING = words.phrase
_NAME = words.name
_DATE = fillers.date
_CODE = fillers.code
_MONEY = fillers.money

TRAVEL = domain(
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
BUSINESS = domain(
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
TRADE = domain(
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
MATCH = domain(
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
SCHOOL = domain(
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
FAMILY = domain(
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
COURT = domain(
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
