"""Sentence frames of the generator: those that all splits share, and those of one split alone.

A frame is a sentence with slots. `{M1}` is a drug, `{D1}` a dose of that drug and `{E1}` another
one, `{C1}` a condition, `{P1}` a procedure; numbers tell several apart. What stands in the other
slots (`{often}`, `{when}`, `{date}`, `{doctor}`, `{who}`, `{age}`, `{few}`, `{glucose}`, ...) is
no entity. Negated mentions and those of relatives are entities like any other.

Styles: `full` sentences, `terse` telegraphic ones, and `quiet` and `quiet_terse` ones, which have
no entity at all: vital signs, laboratory values, social history, arrangements.
"""

from __future__ import annotations


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in block.strip().splitlines())


SHARED: dict[str, tuple[str, ...]] = {
    "full": _lines("""
        {M1} {D1} {often} was started for {C1}.
        The patient takes {M1} {D1} {often}.
        Continue {M1} {D1} {often} for {C1}.
        He was diagnosed with {C1} and underwent {P1} {when}.
        Medical history is notable for {C1} and {C2}.
        {P1} was performed {when} without complications.
        She was discharged on {M1} {D1} {often} and {M2} {D2} {often}.
        We will increase {M1} from {D1} to {E1} {often}.
        {P1} showed no acute findings.
        Surgical history includes {P1} and {P2}.
        This is a {age}-year-old {who} with {C1} who presents for {P1}.
        {M1} was discontinued because of cost.
        The plan is {P1} next week, followed by {M1} {D1}.
        Known {C1}, treated with {M1} for {few} years.
        Family history is positive for {C1}.
        There is no evidence of {C1}.
    """),
    "terse": _lines("""
        PMH: {C1}, {C2}, {C3}.
        PSH: {P1} ({year}), {P2}.
        Meds: {M1} {D1} {often}, {M2} {D2} {often}.
        Hx {C1}, on {M1}.
        s/p {P1} {date}.
        A/P: {C1} - cont {M1} {D1} {often}.
        FHx: {C1} (mother), {C2} (father).
    """),
    "quiet": _lines("""
        Glucose was {glucose} mg/dL and creatinine {decimal} mg/dL.
        Blood pressure was {systolic}/{diastolic} mmHg with a pulse of {pulse}.
        She has no complaints today.
        He lives with his family and does not smoke.
        Please return in {few} weeks.
        His father died at the age of {age}.
        Weight is {weight} kg, up {few} kg since the last visit.
        Temperature was {temperature} C and oxygen saturation {percent} % on room air.
    """),
    "quiet_terse": _lines("""
        BP {systolic}/{diastolic}, HR {pulse}, T {temperature}.
        NAD, lungs clear, abd soft.
        Labs: Na {sodium}, K {decimal}, Cr {decimal} mg/dL.
        No tobacco, EtOH {few}/wk.
        f/u {few} wks w/ {doctor}.
    """),
}

VALIDATION: dict[str, tuple[str, ...]] = {
    "full": _lines("""
        For {C1} we began {M1} {D1} {often}.
        The {who} has been on {M1} {D1} {often} since {year}.
        Past history: {C1}, {C2} and {P1}.
        {P1} {when} revealed {C1}.
        We raised {M1} to {D1} {often}.
        She came in for {P1} after a diagnosis of {C1}.
        Her sister was treated for {C1}.
        {M1} was changed to {M2} {D2} because of a rash.
        The {who} underwent {P1} on {date} under {doctor}.
        Since the {C1} is stable, no {P1} is planned.
        He takes {M1}, {M2} {D2} and {M3} at home.
        {C1} and {C2} remain under control.
        The {who} was admitted for {C1} {when}.
        On arrival, {M1} {D1} was given, and {P1} was arranged.
        He asks whether {M1} could be the cause of his {C1}.
        {doctor} suggested {P1}, which the {who} refused.
        Treatment of {C1} with {M1} will go on for {few} weeks.
        She missed several doses of {M1} {D1}.
        {P1} was repeated and again normal.
        The {who} with {C1} was seen with a relative.
        I do not think that this is {C1}.
        {D1} of {M1} {often} was enough to treat the {C1}.
    """),
    "terse": _lines("""
        Hx: {C1}, {C2}; {P1} {year}.
        Rx {M1} {D1} {often}, {M2} {D2} {often}.
        {age}F with {C1}, s/p {P1}.
        Cont {M1} {D1}, stop {M2}.
        Imp: {C1}. Plan: {P1}.
        {P1} wnl.
        ? {C1} - get {P1}.
        Mother: {C1}. Father: {C2}.
        Meds - {M1} {D1}; {M2} {D2}; {M3} {D3}.
        {C1} on {M1}, no change.
        Incr {M1} to {D1} {often}.
        a) {C1} b) {C2}
    """),
    "quiet": _lines("""
        On examination the blood pressure was {systolic}/{diastolic} mmHg.
        Creatinine is {decimal} mg/dL, glucose {glucose} mg/dL.
        He has never smoked and works in an office.
        The next visit is on {date}.
        The {who} is {age} years old and lives with a friend.
        She feels well and walks {few} miles {often}.
        Oxygen saturation is {percent} % and temperature {temperature} C.
        The plan was gone over with the family.
    """),
    "quiet_terse": _lines("""
        BP {systolic}/{diastolic}. Sat {percent} %.
        Na {sodium}, Hgb {hemoglobin} g/dL.
        RTC {few} wks.
        Non-smoker, no EtOH.
        Doing well, no concerns.
    """),
}

TEST: dict[str, tuple[str, ...]] = {
    "full": _lines("""
        Treatment with {M1} {D1} {often} was begun for {C1}.
        At home the {who} uses {M1} {D1} {often}.
        Keep {M1} {D1} {often} unchanged.
        He has {C1} and had {P1} in {year}.
        Her history is significant for {C1}, {C2} and {C3}.
        {P1} went well {when}.
        He left the hospital on {M1} {D1} {often} and {M2} {D2} {often}.
        {doctor} lowered {M1} from {D1} to {E1} {often}.
        Results of {P1} were within normal limits.
        A {age}-year-old {who} came for {P1} because of {C1}.
        {M1} had to be stopped since it was not covered by insurance.
        We will arrange {P1} and consider {M1} {D1} afterwards.
        Longstanding {C1} has been treated with {M1} and {M2}.
        The {who} was hospitalized for {C1} and received {M1} {D1}.
        Both parents had {C1}.
        We replaced {M1} by {M2} {D2} {often}.
        The {C1} is worse than {few} months ago.
        A surgeon was asked about {P1} for {C1}.
        No sign of {C1} was found.
        The medication list shows {M1} {D1}, {M2} {D2} and {M3}.
        To exclude {C1}, {P1} was ordered.
        {few} days after {P1} he was found to have {C1}.
        She reports that {M1} does not agree with her.
        {D1} of {M1} was infused before {P1}.
        Once {C1} was established, {M1} {D1} {often} was prescribed.
        {P1} has been booked for {date} with {doctor}.
        With {C1} in mind, {M1} is not an option.
        The {who} still takes {D1} of {M1} {often} for {C1}.
        He would rather have {P1} than take {M1}.
        {C1} was considered, but {P1} did not support it.
        Aside from {C1}, the {who} is healthy.
        Earlier operations were {P1} and {P2}.
        The {who} ran out of {M1} {D1} {few} days ago.
        Her {C1} did not respond to {M1} {D1}.
        {C1} led to {P1} {when}.
    """),
    "terse": _lines("""
        PMHx {C1}; {C2}; {C3}.
        Surg: {P1}, {P2} {year}.
        Rx: {M1} {D1} {often}; {M2} {D2} {often}.
        {age}M, known {C1}, on {M1} {D1}.
        Adm w/ {C1}, {P1} done {date}.
        A: {C1}. P: {M1} {D1} {often}, {P1}.
        {M1} up to {D1} {often}.
        {P1} - normal.
        FH {C1}.
        Taking {M1}, {M2}, {M3}.
        #1 {C1} #2 {C2}
        Susp {C1}; await {P1}.
        No {M1} (rash), try {M2} {D2}.
        {M1} {D1} given x2, {C1} better.
        Ref for {P1}, {C1}.
        s/p {P1}, now {C1}; {M1} {D1}.
    """),
    "quiet": _lines("""
        Vital signs: pulse {pulse}, blood pressure {systolic}/{diastolic} mmHg.
        The latest creatinine was {decimal} mg/dL and the sodium {sodium} mmol/L.
        She is retired, never smoked and drinks {few} beers a week.
        We will meet again in {few} weeks.
        Her grandfather lived to be {age}.
        He weighs {weight} kg and exercises {often}.
        Temperature {temperature} C, saturation {percent} %, no distress.
        The {who} understood the instructions given by {doctor}.
        Platelets were {platelets} and hemoglobin {hemoglobin} g/dL.
        The wound has healed and the stitches were taken out {when}.
    """),
    "quiet_terse": _lines("""
        HR {pulse}, BP {systolic}/{diastolic}, afebrile.
        K {decimal}, glucose {glucose} mg/dL, plt {platelets}.
        Lives w/ spouse, smoker {few}/day.
        Next appt {date}, {doctor}.
        Alert, comfortable, {percent} % on RA.
        Wt {weight} kg.
    """),
}

FRAMES = {"shared": SHARED, "validation": VALIDATION, "test": TEST}
