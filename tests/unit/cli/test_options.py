"""Options of a sweep on several verbs; tables for a terminal and for a pipe."""

from __future__ import annotations

import dataclasses
import inspect
import io

import pytest

from harness.cli import check, plan, run, sweep
from harness.cli.options import SweepOptions, print_table
from harness.errors import UserError

COLUMNS = ("name", "trials")
ROWS = [("ner_medical", 7), ("[bold]x", 120)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_columns_where_nobody_looks_on() -> None:
    out = io.StringIO()
    print_table("Studies", COLUMNS, ROWS, to=out)
    assert out.getvalue().splitlines() == [
        "Studies",
        "name         trials",
        "ner_medical       7",
        "[bold]x         120",
    ]


def test_a_drawn_table_on_a_terminal_has_the_same_cells_and_no_markup() -> None:
    out = Terminal()
    print_table("Studies", COLUMNS, ROWS, to=out)
    text = out.getvalue()
    for cell in ("Studies", "name", "ner_medical", "[bold]x", "120"):
        assert cell in text
    assert "─" in text


def test_no_row_is_said() -> None:
    out = io.StringIO()
    print_table("Studies", COLUMNS, [], empty="no studies in results", to=out)
    assert out.getvalue() == "Studies: no studies in results\n"


def test_fractions_are_short() -> None:
    out = io.StringIO()
    print_table("T", ("share",), [(0.1 + 0.2,), (12.0,)], to=out)
    assert [line.strip() for line in out.getvalue().splitlines()[2:]] == ["0.3", "12"]


FIELDS = [field.name for field in dataclasses.fields(SweepOptions)]


@pytest.mark.parametrize("verb", [sweep.sweep, plan.plan, check.check])
def test_a_verb_has_an_option_for_each_field_after_its_name(verb) -> None:  # type: ignore[no-untyped-def]
    names = [*inspect.signature(verb).parameters]
    assert names[: 1 + len(FIELDS)] == ["name", *FIELDS]
    assert "options" not in names


def test_options_change_the_sweep(tmp_path) -> None:  # type: ignore[no-untyped-def]
    options = SweepOptions(
        trials=7, seeds=4, limit=9, overrides=["space.rank=[8]"], data=tmp_path, allow_leaks=True
    )
    changed = options.sweep("ner_medical")
    assert (changed.search.trials, changed.confirmation.looks) == (7, (4,))
    assert (changed.data.limit, changed.data.folder) == (9, str(tmp_path))
    assert (changed.space.rank, changed.data.allow_leaks) == ((8,), True)
    plain = SweepOptions().sweep("ner_medical")
    assert plain.data.allow_leaks is False


def test_a_data_folder_that_does_not_exist_is_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=r"--data .*nowhere: no such folder"):
        SweepOptions(data=tmp_path / "nowhere").sweep("ner_medical")


def test_the_command_line_reaches_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[SweepOptions] = []

    def stop(self: SweepOptions, name: str, **_: bool) -> None:
        seen.append(self)
        raise UserError(name)

    monkeypatch.setattr(SweepOptions, "sweep", stop)
    words = ["--trials", "3", "--set", "seed=1", "--set", "space.rank=[8]", "--allow-leaks"]
    for verb in ("sweep", "plan", "check"):
        assert run([verb, "ner_medical", *words]) == 2
    expected = SweepOptions(trials=3, overrides=["seed=1", "space.rank=[8]"], allow_leaks=True)
    assert seen == [expected] * 3
