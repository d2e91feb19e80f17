"""Tables for the terminal: drawn by rich where a person looks on, else plain aligned columns.

Knows nothing of what is in them.
"""

import sys
from collections.abc import Sequence
from typing import TextIO


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str = "none",
    to: TextIO | None = None,
) -> None:
    """Prints a table.

    Args:
        title: the line above it.
        columns: the columns' heads.
        rows: the cells; numbers are set flush right.
        empty: what stands there if there is no row.
        to: where to print; standard output if not given.
    """
    stream = sys.stdout if to is None else to
    cells = [[_text(cell) for cell in row] for row in rows]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(columns))
    ]
    if not rows:
        print(f"{title}: {empty}", file=stream)
    elif stream.isatty():
        _draw(title, columns, cells, right, stream)
    else:
        print("\n".join([title, *lines(columns, cells, right)]), file=stream)


def lines(
    columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]
) -> list[str]:
    """The table as text, the heads first, columns two blanks apart."""
    grid = [list(columns), *cells]
    widths = [max(len(row[i]) for row in grid) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in grid
    ]


def _text(cell: object) -> str:
    return f"{cell:g}" if isinstance(cell, float) else str(cell)


def _draw(
    title: str,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    right: Sequence[bool],
    stream: TextIO,
) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for head, flush in zip(columns, right, strict=True):
        table.add_column(head, justify="right" if flush else "left", overflow="fold")
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    Console(file=stream).print(table)
