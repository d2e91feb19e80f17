import io

from rich.console import Console

from harness.cli.live import View
from harness.config.sweep import load_sweep
from harness.results import Objective
from harness.storage.overview import Progress

OBJECTIVE = Objective("entity_f1", "maximize", 0.02, "f1", ("A",), 100.0, "points of F1")


def progress(done: int, owed: int = 20, stage: str = "search") -> Progress:
    return Progress(stage, {stage: done}, owed, {"complete": done}, 0.8123, "lora r=16", ("#7 x",))


def shown(*moments: Progress, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with View(load_sweep("ner_medical"), OBJECTIVE, console, workers=2) as view:
        for moment in moments:
            view.tick(moment)
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    out = shown(progress(0), progress(1), progress(5, 15), terminal=False)
    lines = out.splitlines()
    assert lines[0].endswith("search: 0 of 20 trials, best 81.2 (lora r=16)")
    assert lines[-1].endswith("search: 5 of 20 trials, best 81.2 (lora r=16)")
    assert len(lines) == 2  # not one for each trial
    assert "\x1b" not in out


def test_a_table_on_a_terminal():
    out = shown(progress(3, 17), terminal=True)
    for part in ("ner_medical on builtin:tiny", "3 done, 17 owed", "81.2", "#7 x"):
        assert part in out


def test_time_left_follows_the_pace_of_the_stage(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("harness.cli.live.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=False)
    view = View(load_sweep("ner_medical"), OBJECTIVE, console, workers=2)
    view.tick(progress(4, 16))
    assert view.left(progress(4, 16)) is None
    now[0] = 60.0
    assert view.left(progress(8, 12)) == 60.0 / 4 * 12


def test_before_anything_is_scored_no_best_is_told():
    nothing = Progress("tune", {"tune": 0}, 9, {}, None, "", ())
    for terminal in (False, True):
        assert "best" not in shown(nothing, terminal=terminal)
