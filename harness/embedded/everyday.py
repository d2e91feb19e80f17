"""Sentence frames of the everyday domains.

In most domains several slots take the same kind of string, so only the frame tells which span
belongs to which label: choosing by label, not copying, is what limits a model of this size.
"""

from harness.embedded import fillers, words
from harness.embedded.frames import Domain, domain
from harness.embedded.people import BUSINESS, COURT, FAMILY, MATCH, SCHOOL, TRADE, TRAVEL

_THING = words.phrase
_NAME = words.name
_QUANTITY = fillers.quantity
_DATE = fillers.date
_CODE = fillers.code

FREIGHT = domain(
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
BOOKS = domain(
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
KITCHEN = domain(
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
WORKSHOP = domain(
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
GARDEN = domain(
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
SOFTWARE = domain(
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
NATURE = domain(
    "nature",
    {
        "hunter": (_THING, "hunter predator eater"),
        "prey": (_THING, "prey victim food"),
        "place": (_NAME, "region habitat area"),
        "count": (fillers.number, "count total number"),
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
