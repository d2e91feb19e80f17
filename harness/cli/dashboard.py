"""`dashboard`: optuna-dashboard on a study, through a connection that cannot write.

Shows a running study as it goes and cannot hurt it: SQLite refuses every write of such a
connection, and what asks for one is turned away before it gets there. The package is an extra.
"""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harness.cli import options
from harness.errors import UserError

if TYPE_CHECKING:
    from socketserver import BaseServer

    from optuna.storages import RDBStorage

#: A WSGI application: environment and how to begin the answer -> the answer's parts.
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HOST: Final = "127.0.0.1"
_READING: Final = ("GET", "HEAD")
_REFUSED: Final = b'{"reason": "This dashboard only reads: the study stays as it is."}'


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command("dashboard", help="Look at a study's trials in optuna-dashboard.")(dashboard)


def dashboard(
    study: options.Study,
    port: Annotated[int, typer.Option(help="port on this machine", min=1, max=65535)] = 8080,
    results: options.Results = Path("results"),
) -> None:
    """Serves the dashboard on this machine alone, until Ctrl-C; changes nothing."""
    from harness.storage.records import study_folder

    file = study_folder(study, results) / "study.db"
    make = _installed()
    storage = read_only(file)
    try:
        with (
            _server(reading(make(storage)), port) as server,
            contextlib.suppress(KeyboardInterrupt),
        ):
            print(
                f"study {study}, to read only: http://{HOST}:{port}/ (Ctrl-C ends it)", flush=True
            )
            server.serve_forever()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def read_only(file: Path) -> "RDBStorage":
    """Optuna's storage on a SQLite file, which it can only read; sees what others write to it.

    Args:
        file: a study's database.

    Raises:
        UserError: it cannot be read.
    """
    from urllib.parse import quote

    from optuna.storages import RDBStorage
    from sqlalchemy import URL

    url = URL.create(
        "sqlite",
        database=f"file:{quote(str(file.resolve()))}",
        query={"mode": "ro", "uri": "true"},
    )
    try:
        return RDBStorage(
            url.render_as_string(),
            engine_kwargs={"connect_args": {"timeout": 60}},
            skip_table_creation=True,
        )
    except Exception as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise UserError(f"{file}: the study's database cannot be read: {reason}") from None


def reading(app: App) -> App:
    """The same application, except that it refuses whatever asks for a change."""

    def answer(environment: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] in _READING:
            return app(environment, begin)
        length = ("Content-Length", str(len(_REFUSED)))
        begin("403 Forbidden", [("Content-Type", "application/json"), length])
        return [_REFUSED]

    return answer


def _installed() -> Callable[["RDBStorage"], App]:
    """What makes the dashboard of a storage."""
    import importlib

    try:
        made: Callable[[RDBStorage], App] = importlib.import_module("optuna_dashboard").wsgi
    except ImportError:
        raise UserError(
            "optuna-dashboard is not installed; pip install 'harness[dashboard]'"
        ) from None
    return made


def _server(app: App, port: int) -> "BaseServer":
    """A server of this machine alone; a page asks for much at once, so each call has a thread.

    Raises:
        UserError: the port is taken, or only for the machine's administrator.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *_: Any) -> None:
            """Says nothing of each call."""

    try:
        server = Server((HOST, port), Quiet)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; give another one") from error
    server.set_app(app)
    return server
