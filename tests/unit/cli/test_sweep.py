import io

from rich.console import Console

from harness.cli import run
from harness.cli.sweep import ProgressView
from harness.config.sweep import load_sweep
from harness.results import Objective
from harness.storage.overview import Progress
from harness.tasks.task import load_task

OBJECTIVE = Objective("entity_f1", "maximize", 0.02, "f1", ("A",), 100.0, "points of F1")


def progress(completed: int, remaining: int = 20, stage: str = "search") -> Progress:
    return Progress(
        stage,
        {stage: completed},
        remaining,
        {"complete": completed},
        0.8123,
        "lora r=16",
        ("#7 x",),
    )


def shown(*moments: Progress, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with ProgressView(load_sweep("ner_medical"), OBJECTIVE, console, workers=2) as view:
        for moment in moments:
            view.tick(moment)
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    out = shown(progress(0), progress(1), progress(5, 15), terminal=False)
    lines = out.splitlines()
    assert lines[0].endswith("search 0/20, best 81.2 (lora r=16)")
    assert lines[-1].endswith("search 5/20, best 81.2 (lora r=16)")
    assert len(lines) == 2  # not one for each trial
    assert "\x1b" not in out


def test_a_table_on_a_terminal():
    out = shown(progress(3, 17), terminal=True)
    for part in ("ner_medical on builtin:tiny", "search 3/20 · ETA estimating…", "81.2", "#7 x"):
        assert part in out


def test_time_left_follows_the_pace_of_the_stage(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("harness.cli.sweep.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=False)
    view = ProgressView(load_sweep("ner_medical"), OBJECTIVE, console, workers=2)
    view.tick(progress(4, 16))
    assert view.remaining_seconds(progress(4, 16)) is None
    now[0] = 60.0
    assert view.remaining_seconds(progress(8, 12)) == 60.0 / 4 * 12


def test_before_anything_is_scored_no_best_is_told():
    nothing = Progress("tune", {"tune": 0}, 9, {}, None, "", ())
    for terminal in (False, True):
        assert "best" not in shown(nothing, terminal=terminal)


def test_a_sweeps_process_loads_its_task_once(workplace, monkeypatch):
    names = []

    def counted(name, **keywords):
        names.append(name)
        return load_task(name, **keywords)

    monkeypatch.setattr("harness.tasks.task.load_task", counted)
    monkeypatch.setattr("harness.study.launcher.run_workers", lambda *_: None)
    assert run(["sweep", "ner_medical", "--limit", "8", "--workers", "1"]) == 0
    assert (workplace / "reports" / "ner_medical.html").is_file()
    assert names == ["ner_medical"]


def test_a_name_that_cannot_be_a_folder_is_refused_before_the_task_is_loaded(tmp_path, capsys):
    given = ["--study", "a/b", "--data", str(tmp_path)]  # there are no rows in that folder
    assert run(["sweep", "ner_medical", *given]) == 2
    assert capsys.readouterr().err.startswith("error: --study a/b: ")
