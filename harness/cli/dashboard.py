"""`dashboard`: optuna-dashboard on a study, through a connection that cannot write.

Safe on a running study: SQLite refuses every write of such a connection, and requests that would
write are answered with 403 before they reach it. optuna-dashboard is an optional dependency.
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

#: A WSGI application: (environment, start_response) -> parts of the response.
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HOST: Final = "127.0.0.1"
_READ_METHODS: Final = ("GET", "HEAD")
_REFUSED: Final = b'{"reason": "This dashboard is read-only: it cannot change the study."}'


def dashboard(
    study: options.Study,
    port: Annotated[int, typer.Option(help="port on 127.0.0.1", min=1, max=65535)] = 8080,
    results: options.Results = Path("results"),
) -> None:
    """Show a study in optuna-dashboard (read-only).

    Serves it to this machine only, until Ctrl-C.
    """
    from harness.storage.records import study_folder

    file = study_folder(study, results) / "study.db"
    make_app = _dashboard_factory()
    storage = read_only_storage(file)
    try:
        with (
            _make_server(refuse_writes(make_app(storage)), port) as server,
            contextlib.suppress(KeyboardInterrupt),
        ):
            address = f"http://{HOST}:{port}/"
            print(f"study {study}, read-only: {address} (press Ctrl-C to stop)", flush=True)
            server.serve_forever()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def read_only_storage(file: Path) -> "RDBStorage":
    """Optuna's storage on a SQLite file, opened read-only; sees what other processes write.

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


def refuse_writes(app: App) -> App:
    """The same application, except that it refuses every request that could change something."""

    def respond(
        environment: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environment["REQUEST_METHOD"] in _READ_METHODS:
            return app(environment, start_response)
        length = ("Content-Length", str(len(_REFUSED)))
        start_response("403 Forbidden", [("Content-Type", "application/json"), length])
        return [_REFUSED]

    return respond


def _dashboard_factory() -> Callable[["RDBStorage"], App]:
    """Makes the dashboard of a storage."""
    import importlib

    try:
        factory: Callable[[RDBStorage], App] = importlib.import_module("optuna_dashboard").wsgi
    except ImportError:
        raise UserError(
            "optuna-dashboard is not installed; pip install 'harness[dashboard]'"
        ) from None
    return factory


def _make_server(app: App, port: int) -> "BaseServer":
    """A server on 127.0.0.1 with a thread for each request, as a page sends many at once.

    Raises:
        UserError: the port is taken, or needs root.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class QuietHandler(WSGIRequestHandler):
        def log_message(self, format: str, *_: Any) -> None:
            """Does not log requests."""

    try:
        server = Server((HOST, port), QuietHandler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; give another one") from error
    server.set_app(app)
    return server
