"""Our tables beside Optuna's, in the same database: what Optuna has no place for."""

from typing import Any, ClassVar, Final

import numpy as np
from sqlalchemy import Engine, ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import JSON, Float, String, Text, TypeDecorator

from harness.errors import UserError

#: Raised when the tables change their shape.
SCHEMA: Final = 1
#: Rows are stored sparsely if at most this share of their numbers is not 0.
_SPARSE: Final = 0.1


class Base(DeclarativeBase):
    """Declares our tables; all names start with `harness_`."""

    type_annotation_map: ClassVar = {float: Float}


class Rows(TypeDecorator[Any]):
    """Rows of numbers of equal length; rows that are mostly 0 are stored without their zeros.

    One class of 77 has 154 or 231 columns, of which an example fills two or three. Read back as
    an array of shape (rows, columns).
    """

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Rows as plain lists, or as alternating column indices and numbers."""
        del dialect
        table = np.asarray(value, dtype=float)
        if table.ndim != 2 or np.count_nonzero(table) > _SPARSE * table.size:
            return table.tolist()
        rows = [
            [entry for k in np.flatnonzero(row).tolist() for entry in (k, float(row[k]))]
            for row in table
        ]
        return {"columns": table.shape[1], "rows": rows}

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """The rows as they were."""
        del dialect
        if not isinstance(value, dict):
            return np.asarray(value, dtype=float) if value else value
        table = np.zeros((len(value["rows"]), value["columns"]))
        for row, numbers in zip(table, value["rows"], strict=True):
            row[numbers[::2]] = numbers[1::2]
        return table

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether two tables are the same, to the last number."""
        return np.array_equal(np.asarray(x), np.asarray(y))


class StudyRow(Base):
    """One row a study: the frozen sweep, digests, provenance."""

    __tablename__ = "harness_study"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    schema_number: Mapped[int]
    sweep: Mapped[Any] = mapped_column(JSON)
    sweep_digest: Mapped[str] = mapped_column(String(64))
    task_digest: Mapped[str] = mapped_column(String(64))
    objective: Mapped[Any] = mapped_column(JSON)
    provenance: Mapped[Any] = mapped_column(JSON)


class AttributeRow(Base):
    """A decision about the study; the first worker to write it decides, all others read it."""

    __tablename__ = "harness_attribute"
    study: Mapped[str] = mapped_column(ForeignKey("harness_study.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[Any] = mapped_column(JSON)


class CostRow(Base):
    """What a finished trial cost."""

    __tablename__ = "harness_cost"
    study: Mapped[str] = mapped_column(ForeignKey("harness_study.name"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    train_seconds: Mapped[float]
    score_seconds: Mapped[float]
    tokens: Mapped[int]
    parameters: Mapped[int]
    peak_memory: Mapped[int]
    pack: Mapped[int]
    adapter: Mapped[str | None] = mapped_column(Text)


class MeasurementRow(Base):
    """A reading during training; its value is also an intermediate value of Optuna's trial."""

    __tablename__ = "harness_measurement"
    study: Mapped[str] = mapped_column(ForeignKey("harness_study.name"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    loss: Mapped[float]
    value: Mapped[float | None]
    seconds: Mapped[float]
    tokens: Mapped[int]


class ScoresRow(Base):
    """One split scored: by a trial, or by a baseline (then `trial` is -1)."""

    __tablename__ = "harness_scores"
    study: Mapped[str] = mapped_column(ForeignKey("harness_study.name"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True)
    baseline: Mapped[str] = mapped_column(String(100), primary_key=True, default="")
    split: Mapped[str] = mapped_column(String(100), primary_key=True)
    examples: Mapped[Any] = mapped_column(JSON)
    predictions: Mapped[Any] = mapped_column(JSON)
    unparsed: Mapped[Any] = mapped_column(JSON)
    statistics: Mapped[Any] = mapped_column(Rows)
    metrics: Mapped[Any] = mapped_column(JSON)


class WorkerRow(Base):
    """The last heartbeat of a worker."""

    __tablename__ = "harness_worker"
    study: Mapped[str] = mapped_column(ForeignKey("harness_study.name"), primary_key=True)
    worker: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    born: Mapped[float]
    beat: Mapped[float]


def connect(url: str) -> Engine:
    """An engine on the database, in WAL mode where it is SQLite; creates missing tables.

    Raises:
        UserError: the database cannot be opened, or the file is no database.
    """
    sqlite = url.startswith("sqlite")
    try:
        engine = create_engine(url, connect_args={"timeout": 60} if sqlite else {})
        set_pragmas(engine)
        Base.metadata.create_all(engine)
    except Exception as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise UserError(f"{url}: the study's database cannot be opened: {reason}") from None
    return engine


def set_pragmas(engine: Engine) -> None:
    """Sets SQLite to WAL, so that workers can write concurrently; other databases need nothing."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _pragmas)
        engine.dispose()  # existing connections would lack the pragmas


def _pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
