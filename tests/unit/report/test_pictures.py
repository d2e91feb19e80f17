"""Charts as PNG: as large as they should be, drawn to the last row, all of them or none."""

from __future__ import annotations

import struct
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from harness.errors import UserError
from harness.report import figures, pictures

if TYPE_CHECKING:
    from harness.results import StudyResults

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: list[bytes], *, width: int, colour: int = 2, interlaced: int = 0) -> bytes:
    """A PNG of eight bits a value from rows that begin with their filter."""
    head = struct.pack(">IIBBBBB", width, len(rows), 8, colour, 0, 0, interlaced)
    packed = zlib.compress(b"".join(rows))
    body = chunk(b"IDAT", packed[:7]) + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", packed[7:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def read(data: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the rows of a PNG, by the letter of its standard."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, head, packed = 8, b"", b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert data[at + 8 + size : at + 12 + size] == struct.pack(">I", zlib.crc32(kind + body))
        head, packed = (body, packed) if kind == b"IHDR" else (head, packed)
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    assert (depth, interlaced) == (8, 0)
    step = {2: 3, 6: 4}[colour]
    return width, height, _unfiltered(zlib.decompress(packed), width * step, step, height)


def _unfiltered(raw: bytes, length: int, step: int, height: int) -> list[bytes]:
    assert len(raw) == height * (length + 1)
    rows, above = [], bytearray(length)
    for start in range(0, len(raw), length + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        for index in range(length if kind else 0):
            left = row[index - step] if index >= step else 0
            corner = above[index - step] if index >= step else 0
            up = above[index]
            about = left + up - corner
            nearest = min((left, up, corner), key=lambda one: abs(about - one))
            row[index] = (row[index] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255
        rows.append(bytes(row))
        above = row
    return rows


def pixel(rows: list[bytes], x: int, y: int, width: int) -> tuple[int, ...]:
    step = len(rows[0]) // width
    return tuple(rows[y][x * step : x * step + 3])


def figure(name: str, height: int) -> figures.Figure:
    """A white figure with a red lower left corner and a blue lower right one, 10 pixels each."""
    box = f'y="{height - 10}" width="10" height="10"'
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{figures.WIDTH}" height="{height}">'
        '<rect width="100%" height="100%" fill="#fff"/>'
        f'<rect x="0" {box} fill="#f00"/><rect x="{figures.WIDTH - 10}" {box} fill="#00f"/></svg>'
    )
    return figures.Figure(name, svg, height)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[figures.Figure]:
    """The page has two figures, a low one and a high one."""
    drawn = [figure("search-01-low", 110), figure("search-02-high", 300)]
    monkeypatch.setattr(pictures, "figures", lambda _results: drawn)
    return drawn


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """What the path has for a browser is this script."""
    file = folder / "bin" / "chromium"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}:/usr/bin:/bin")


@pytest.mark.chromium
def test_each_is_as_large_as_it_should_be(
    searched: StudyResults, chromium: Path, tmp_path: Path
) -> None:
    assert chromium
    folder = pictures.write(searched, tmp_path / "figures")
    drawn = figures.figures(searched)
    assert {file.name for file in folder.iterdir()} == {f"{each.name}.png" for each in drawn}
    for each in drawn:
        data = (folder / f"{each.name}.png").read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", data[16:24]) == (2 * figures.WIDTH, 2 * each.height)
        assert len(data) > 2000


@pytest.mark.chromium
def test_it_is_drawn_to_the_last_row(
    two: list[figures.Figure], full: StudyResults, chromium: Path, tmp_path: Path
) -> None:
    assert chromium
    folder = pictures.write(full, tmp_path / "figures")
    for each in two:
        width, height, rows = read((folder / f"{each.name}.png").read_bytes())
        assert (width, height) == (2 * figures.WIDTH, 2 * each.height)
        last, right = height - 1, width - 1
        assert pixel(rows, 0, last, width) == pixel(rows, 19, last - 19, width) == RED
        assert pixel(rows, right, last, width) == pixel(rows, right - 19, last, width) == BLUE
        assert pixel(rows, 20, last, width) == pixel(rows, 0, last - 20, width) == WHITE
        assert pixel(rows, 0, 0, width) == WHITE


def test_a_cut_keeps_the_first_rows() -> None:
    # The second row is filtered by the one above, the third by its left neighbours.
    rows = [b"\0" + bytes(range(1, 10)), b"\2" + bytes([1] * 9), b"\1" + bytes([7] * 9)]
    whole = png(rows, width=3)
    _, _, wanted = read(whole)
    assert wanted[1] == bytes(range(2, 11))
    for height in (1, 2, 3):
        assert read(pictures.cut(whole, height)) == (3, height, wanted[:height])


def test_a_cut_says_the_density() -> None:
    cut = pictures.cut(png([b"\0\0\0\0"], width=1), 1)
    at = cut.index(b"pHYs") + 4
    across, down, unit = struct.unpack(">IIB", cut[at : at + 9])
    assert across == down == round(2 * 96 / 0.0254)
    assert unit == 1  # the metre


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", png([b"\0\0\0\0"], width=1), png([b"\0" * 4] * 3, width=1, interlaced=1)],
)
def test_what_cannot_be_cut_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a PNG|cannot cut"):
        pictures.cut(data, 2)


def test_without_a_browser_it_says_what_to_do(
    full: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"install one .*or take --format svg") as told:
        pictures.write(full, tmp_path / "figures")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_any_of_the_names_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("google-chrome-stable", "google-chrome", "chromium-browser", "chromium"):
        file = tmp_path / name
        file.touch(0o755)
        assert pictures.browser() == str(file)


@pytest.mark.usefixtures("two")
def test_if_one_fails_none_is_changed(
    full: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(png([b"\0" * 4321] * 900, width=1440))
    script = (
        'for each; do case "$each" in --screenshot=*) target="${each#*=}";; esac; done\n'
        'case "$target" in *-02-*) echo "[1:FATAL:x.cc] No usable sandbox!" >&2; exit 3;; esac\n'
        f'cp "{good}" "$target"'
    )
    pretend(tmp_path, monkeypatch, script)
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "search-01-low.png").write_bytes(b"as it was")
    wanted = r"no picture of search-02-high \(exit code 3; .*No usable sandbox!\); --format svg"
    with pytest.raises(UserError, match=wanted) as told:
        pictures.write(full, folder)
    assert "\n" not in str(told.value)
    assert [file.name for file in folder.iterdir()] == ["search-01-low.png"]
    assert (folder / "search-01-low.png").read_bytes() == b"as it was"


@pytest.mark.usefixtures("two")
def test_a_stuck_browser_is_ended_with_its_children(
    full: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "TIMEOUT", 0.5)
    pretend(tmp_path, monkeypatch, f"sleep 300 &\necho $! > {tmp_path}/child\nwait")
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"stuck for 0.5 seconds"):
        pictures.write(full, tmp_path / "figures")
    assert time.monotonic() - begun < 30
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the browser's child goes on")
    assert not list((tmp_path / "figures").iterdir())
