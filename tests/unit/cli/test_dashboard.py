"""`dashboard` shows a study as it goes and cannot write to it, whatever it is asked for."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection

from harness.cli import dashboard, run
from harness.config.sweep import load_sweep
from harness.errors import UserError
from harness.storage.study import PlannedTrial, StudyStore, study_url
from harness.trial import Stage, TrialConfig

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

CONFIG = TrialConfig("lora", 4, 8.0, 0.0, "qv", 5e-3, seed=1)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder."""
    made = tmp_path / "results" / "first"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def studies(folder: Path) -> Iterator[StudyStore]:
    made = StudyStore(study_url(folder), folder.name, load_sweep("ner_medical"), create=True)
    owe(made, 0)
    yield made
    made.close()


@pytest.fixture
def storage(studies: StudyStore, folder: Path) -> Iterator[RDBStorage]:
    assert studies.trials()
    made = dashboard.read_only_storage(folder / "study.db")
    yield made
    made.remove_session()
    made.engine.dispose()


def owe(studies: StudyStore, number: int) -> None:
    studies.enqueue([PlannedTrial(f"search/{number}", Stage.SEARCH, 1, CONFIG)])


def rows(file: Path) -> str:
    """All that a database holds, as one digest."""
    connection = sqlite3.connect(file)
    try:
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()
    finally:
        connection.close()


def test_no_write_reaches_the_study(storage: RDBStorage, folder: Path) -> None:
    (study,) = storage.get_all_studies()
    (trial,) = storage.get_all_trials(study._study_id)
    before = rows(folder / "study.db")
    writes: list[Callable[[], object]] = [
        lambda: storage.delete_study(study._study_id),
        lambda: storage.create_new_study([StudyDirection.MINIMIZE], "another"),
        lambda: storage.set_trial_user_attr(trial._trial_id, "note", "x"),
        lambda: storage.set_study_user_attr(study._study_id, "note", "x"),
        lambda: storage.create_new_trial(study._study_id),
    ]
    for write in writes:
        with pytest.raises(StorageInternalError):
            write()
    assert rows(folder / "study.db") == before
    assert len(storage.get_all_studies()) == 1


def test_a_running_study_is_shown_as_it_goes_and_goes_on(
    storage: RDBStorage, studies: StudyStore
) -> None:
    (study,) = storage.get_all_studies()
    assert [one.state.name for one in storage.get_all_trials(study._study_id)] == ["WAITING"]
    taken = studies.claim("w")
    assert taken is not None
    studies.config(taken)
    studies.study.tell(taken, 0.5)
    owe(studies, 1)
    found = storage.get_all_trials(study._study_id)
    assert [(one.state.name, one.value) for one in found] == [("COMPLETE", 0.5), ("WAITING", None)]


@pytest.mark.usefixtures("studies")
def test_a_folder_of_any_name_can_be_read(folder: Path) -> None:
    # SQLite takes the file's name as a URI here.
    odd = folder.rename(folder.with_name("odd #1 ?mode=rwc&x=y 50%20"))
    storage = dashboard.read_only_storage(odd / "study.db")
    assert [one.study_name for one in storage.get_all_studies()] == ["first"]
    with pytest.raises(StorageInternalError):
        storage.create_new_study([StudyDirection.MINIMIZE], "another")
    storage.remove_session()
    storage.engine.dispose()


def test_what_is_no_database_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, and long enough to be told so" * 9)
    with pytest.raises(UserError, match=r"study\.db: the study's database cannot be read: "):
        dashboard.read_only_storage(tmp_path / "study.db")


def fake(storage: RDBStorage) -> Callable[..., Iterable[bytes]]:
    """Stands in for the package's application: lists, and deletes what it is told to."""

    def answer(environment: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] == "DELETE":
            storage.delete_study(storage.get_all_studies()[0]._study_id)
        begin("200 OK", [("Content-Type", "application/json")])
        return [json.dumps([one.study_name for one in storage.get_all_studies()]).encode()]

    return answer


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("optuna_dashboard")
    monkeypatch.setattr(module, "wsgi", fake, raising=False)
    monkeypatch.setitem(sys.modules, "optuna_dashboard", module)


def call(port: int, method: str) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/studies", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_it_is_served_here_alone_and_refuses_what_changes(
    storage: RDBStorage, folder: Path
) -> None:
    before = rows(folder / "study.db")
    server = dashboard._make_server(dashboard.refuse_writes(fake(storage)), 0)
    host, port = server.server_address[:2]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert host == "127.0.0.1"
        assert call(port, "GET") == (200, [folder.name])
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            status, told = call(port, method)
            assert (status, "read-only" in told["reason"]) == (403, True)
        with pytest.raises(UserError, match=rf"--port {port}: .*; give another one"):
            dashboard._make_server(fake(storage), port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert rows(folder / "study.db") == before


@pytest.mark.usefixtures("studies", "installed")
def test_the_verb_says_where_and_ends_with_ctrl_c(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], int]] = []

    class Server:
        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def serve_forever(self) -> None:
            raise KeyboardInterrupt

    def serve(app: Callable[..., Iterable[bytes]], port: int) -> Server:
        answer = app({"REQUEST_METHOD": "GET"}, lambda *_: None)
        asked.append((json.loads(b"".join(answer)), port))
        return Server()

    monkeypatch.setattr(dashboard, "_make_server", serve)
    where = ["--results", str(folder.parent)]
    assert run(["dashboard", folder.name, "--port", "8123", *where]) == 0
    assert asked == [([folder.name], 8123)]
    out = capsys.readouterr().out
    address = "http://127.0.0.1:8123/"
    assert out == f"study {folder.name}, read-only: {address} (press Ctrl-C to stop)\n"


@pytest.mark.usefixtures("studies")
def test_without_the_extra_one_line_says_how_to_get_it(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert run(["dashboard", folder.name, "--results", str(folder.parent)]) == 2
    assert capsys.readouterr().err == (
        "error: optuna-dashboard is not installed; pip install 'harness[dashboard]'\n"
    )


def test_a_study_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert run(["dashboard", "nosuch", "--results", str(tmp_path)]) == 2
    assert "no study 'nosuch'" in capsys.readouterr().err
