"""The charts of the page as PNG, drawn by the Chromium or Chrome that is on the path.

Knows how to start a browser and how to cut a PNG, nothing of charts.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import UserError
from harness.report.figures import WIDTH, Figure, figures

if TYPE_CHECKING:
    from harness.results import StudyResults

#: Pixels of a picture to one of its SVG.
SCALE: Final = 2
#: What a browser may be called.
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Seconds after which a browser is taken for stuck.
TIMEOUT: Final = 60.0
#: A window's frame counts as its height also where none is drawn: the page is lower than asked
#: for. So the window is taken higher by more than a frame, and the picture is cut.
_FRAME = 200
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # values of a pixel, by the PNG's type of colour
_DENSITY = round(SCALE * 96 / 0.0254)  # pixels of a metre: printed as large as the SVG
_QUIET = (
    "--headless",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--force-device-scale-factor={SCALE}",
)


def write(results: StudyResults, folder: Path) -> Path:
    """One PNG file a chart, in a folder of its own; all of them or none.

    Raises:
        UserError: the study has no figure yet, there is no browser or it draws nothing, or the
            folder cannot be written to.
    """
    drawn = figures(results)
    found = browser()
    try:
        with _workplace(folder) as place:
            made = [_picture(found, each, place) for each in drawn]
            for each in made:
                each.replace(folder / each.name)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{folder}: the report cannot be written: {reason}") from error
    return folder


def browser() -> str:
    """Path of the system's Chromium or Chrome.

    Raises:
        UserError: there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise UserError(
            "--format png: no Chromium or Chrome on the PATH to draw with; install one (on "
            "Debian: apt-get install chromium), or take --format svg, which needs none"
        )
    return found


def cut(png: bytes, height: int) -> bytes:
    """The topmost rows of a PNG, with its density said.

    Args:
        png: a picture without interlacing.
        height: rows to keep.

    Raises:
        ValueError: it is no such picture, or lower than that.
    """
    if not png.startswith(_SIGNATURE):
        raise ValueError("not a PNG")
    chunks, at = [], len(_SIGNATURE)
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    head = dict(chunks)[b"IHDR"]
    width, whole, depth, colour, *_, interlaced = struct.unpack(">IIBBBBB", head)
    if whole < height or interlaced:
        raise ValueError(f"cannot cut {whole} rows to {height}")
    # A row is filtered by those above it only, so the first ones can be kept as they are.
    row = 1 + (width * depth * _CHANNELS[colour] + 7) // 8
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    parts = [
        (b"IHDR", head[:4] + struct.pack(">I", height) + head[8:]),
        (b"pHYs", struct.pack(">IIB", _DENSITY, _DENSITY, 1)),
        *((kind, data) for kind, data in chunks if kind in (b"PLTE", b"tRNS", b"sRGB")),
        (b"IDAT", zlib.compress(pixels[: row * height], 9)),
        (b"IEND", b""),
    ]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    # Beside the target, for a browser in a sandbox of its own (a snap) sees neither the system's
    # temporary folder nor a hidden one.
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix="drawing-", dir=folder.resolve(), ignore_cleanup_errors=True
    ) as place:
        yield Path(place)


def _picture(found: str, figure: Figure, place: Path) -> Path:
    source, target = place / f"{figure.name}.svg", place / f"{figure.name}.png"
    source.write_text(figure.svg, encoding="utf-8", newline="\n")
    told = _start(
        [
            found,
            *_QUIET,
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to run as root else
            f"--user-data-dir={place / 'profile'}",
            f"--window-size={WIDTH},{figure.height + _FRAME}",
            f"--screenshot={target}",
            source.as_uri(),
        ],
        place / "log",
    )
    try:
        whole = cut(target.read_bytes(), SCALE * figure.height)
    except (FileNotFoundError, ValueError, zlib.error, struct.error) as error:
        raise UserError(
            f"--format png: {found} drew no picture of {figure.name} ({told}); --format svg "
            "needs no browser"
        ) from error
    with target.open("wb") as file:
        file.write(whole)
        file.flush()
        os.fsync(file.fileno())
    return target


def _start(command: list[str], log: Path) -> str:
    """Runs a browser to its end, and says how that was."""
    with log.open("w+", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            code = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            return f"stuck for {TIMEOUT:g} seconds"
        finally:
            # Its own children too: the command may be a script that starts the browser.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        file.seek(0)
        fatal = [line.strip() for line in file if "FATAL" in line]
    return "; ".join([f"exit code {code}", *fatal[:1]])
