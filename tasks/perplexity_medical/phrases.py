"""How a report is worded: patterns, each of which makes sentences for every split.

A pattern has two places of two wordings, `[this|that]`, and so makes four sentences. Training has
two of them, first with first and second with second; validation has first with second, test second
with first. So no sentence of validation or test is built like one of training, or of the other,
though every word of it stands in training. Names in braces are slots.

Knows nothing of names, numbers or the order of a report.
"""

from __future__ import annotations

import re

_PLACE = re.compile(r"\[([^]|]*)\|([^]|]*)\]")


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines())


#: Sentences before the steps of an operation, of which a report has one.
BEGINNING = _lines("""
    [Pt|Patient] {position}, [prepped|washed] and draped.
    Time out [done|held] at {hour}:{minute}, {position}[, site marked| and marked].
    {position}, [arms|heels] padded, {drug} [in|given].
    [Bair hugger|Warm air] on, {position}, draped [widely|as usual].
""")

#: The steps of each family, in the order in which they are done.
STEPS: dict[str, tuple[str, ...]] = {
    "open": _lines("""
        {cm} cm {incision} [incision|cut], fascia [split|opened] by {tool}.
        [Entered|Got in] {depth} mm deep, {organ} {state}[, no pus| and clean].
        {tissue} [tied|ligated] with {suture} [and|then] cut with {tool}.
        {organ} [mobilized|freed] [fully|all round] with {tool}.
        {tissue} {state}, [oversewn|closed] in {ports} layers[,| of] {suture}.
        {organ} [out|removed] [whole|en bloc], {cm} cm, to path.
        [Belly|Field] [washed|rinsed] with {volume} mL {fluid}.
        [Fascia|Sheath] [run|closed] with {suture}, skin {skin}.
    """),
    "keyhole": _lines("""
        {ports} ports [in|placed] under [view|vision], gas {gas} mmHg.
        {organ} {state}, [held|pulled] up [high|well] with {tool}.
        {tissue} [seen|shown] on both sides, [clipped|sealed] x{ports} and cut.
        {organ} [peeled|taken] off its bed [by|using] {tool}.
        [Ooze|Bleeding] from {tissue} [stopped|settled] with {tool}.
        {organ} [bagged|in a bag], out via the {incision} [port|wound].
        [Suction|Wash] of {volume} mL {fluid}[, clear| until clear].
        Ports [out|off] dry, {mm} mm site [shut|closed] with {suture}, skin {skin}.
    """),
    "bone": _lines("""
        Cuff [up|on] at {cuff} mmHg [for|over] {minutes} min.
        {cm} cm {incision} [approach|way in], {tissue} [held|kept] aside.
        {organ} {state}, ends [cleaned|cleared] with {tool}[, clot out|].
        {organ} [reduced|set] and [pinned|held] by {tool}.
        {holes}-hole {implant} [on|along] {organ}, {screws} screws [in|tight].
        C-arm [shots|views] at {hour}:{minute}, {organ} [straight|in line], {mm} mm step.
        {tissue} [back|laid] over {implant}[,| with] {suture}, skin {skin}.
        {splint} [on|fitted], no load [for|until] {weeks} weeks.
    """),
    "joint": _lines("""
        [Scope|Camera] in {mm} mm [lateral|below], flow of {fluid}.
        {tissue} {state}, [cleared|trimmed] [back|down] with {tool}.
        {organ} {state} [over|for] {mm} mm, [grade|stage] {ports}.
        {organ} [fixed|tied] down with {ports} [anchors|bites] of {suture}.
        Tunnel {mm} mm [drilled|reamed] near {tissue}[, edges| and] smooth.
        [Range|Motion] at end {degrees} degrees[,| and] stable.
        {drain} [left|placed], {splint} [on|for] {weeks} weeks.
    """),
    "vessel": _lines("""
        {cm} cm {incision} [cut|incision] onto {organ}, [slung|looped].
        Heparin {units} units [in|given], clamps [on|up] {minutes} min.
        {organ} {state}, [core|plaque] [lifted|peeled] out with {tool}.
        {tissue} [tied|clipped] with {suture}, {mm} mm [stump|cuff].
        {graft} [sewn|run] to {organ} [with|by] {suture}.
        [Flow|Doppler] good [past|beyond] {organ} at {hour}:{minute}.
        {drain} [by|near] {tissue}, skin [closed|shut] with {skin}.
    """),
    "scope": _lines("""
        Scope [passed|eased] to {organ} at {depth} cm[,| with] good view.
        {tissue} {state} [over|along] {cm} cm, [washed|flushed] with {fluid}.
        {mm} mm [growth|lesion] at {organ}, [taken|snared] with {tool}.
        [Biopsy|Sample] x{ports} from {tissue}[, jar| in pot] {screws}.
        [Stopped|Controlled] ooze at {organ} with {tool}[, dry| x2].
        {graft} {mm} mm [left|set] across {organ}[, drains| and drains] well.
        [Out|Withdrawn] over {minutes} min, {organ} [clean|clear].
    """),
    "skin": _lines("""
        {incision} [cut|line] with {mm} mm [rim|margin] down to {tissue}.
        {organ} {cm} cm, {state}, [lifted|shelled] [out|free] by {tool}.
        {tissue} {state}, [scraped|cut] back [to|until] bleeding.
        [Pus|Fluid] {volume} mL [let|sucked] out of {organ}.
        [Edges|Flaps] undermined {mm} mm, [drawn|pulled] in with {suture}.
        [Wound|Bed] [soaked|flooded] with {volume} mL {fluid}.
        {drain} [stitched|tied] in, skin {skin}[,| and] dressed.
    """),
}

#: Sentences after the steps, of which a report has one.
ENDING = _lines("""
    EBL {loss} mL, [counts|sponges] [right|correct] x2.
    [Woke|Awake] [well|calm], to {ward} at {hour}:{minute}.
    To {ward}, [diet|sips] [tonight|today].
    {organ} to [path|lab] in [formalin|jar].
    {drain} [out|off] in {days} [d|days].
    [Back|Seen] in {weeks} wk, {suture} out [then|by then].
    [Keep|Continue] {drug} [for|over] {days} doses.
""")

#: Which wording stands in a pattern's first place and which in its second.
WORDINGS = {"train": ((0, 0), (1, 1)), "validation": ((0, 1),), "test": ((1, 0),)}


def sentences(patterns: tuple[str, ...], split: str) -> tuple[tuple[str, ...], ...]:
    """For each pattern the sentences that a split has of it."""

    def worded(pattern: str, wording: tuple[int, int]) -> str:
        chosen = iter(wording)
        return _PLACE.sub(lambda place: place[1 + next(chosen)], pattern)

    return tuple(tuple(worded(each, one) for one in WORDINGS[split]) for each in patterns)
