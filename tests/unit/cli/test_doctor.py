"""The doctor's lines: what is fine, what is missing, and what a broken thing leads to.

What the doctor measures, measured here: 4-bit weights, a server that answers, the disk.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest
import torch

from harness import embedded
from harness.cli import doctor, run
from harness.cli.doctor import Line, formatted


def test_a_library_in_its_range_is_fine() -> None:
    release = importlib.metadata.version("numpy")
    line = doctor.check_requirement("numpy>=1.0")
    assert (line.level, line.finding) == ("ok", f"numpy {release}")


def test_a_library_outside_its_range_is_a_warning() -> None:
    line = doctor.check_requirement("numpy<1.0")
    assert line.level == "warn"
    assert "outside the tested range (<1.0)" in line.finding
    assert line.advice == "pip install 'numpy<1.0'"


def test_a_missing_library_is_needed() -> None:
    line = doctor.check_requirement("no-such-library-at-all>=1")
    assert (line.level, line.needed, line.finding) == ("no", True, "is not installed")


def test_a_library_that_cannot_be_imported_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_MODULES", {"numpy": "numpy_is_broken"})
    line = doctor.check_requirement("numpy")
    assert (line.level, line.needed) == ("no", True)
    assert "cannot be imported: ModuleNotFoundError" in line.finding


def test_all_libraries_of_this_environment_are_in_their_ranges() -> None:
    wanted = importlib.metadata.requires("harness")
    assert wanted
    lines = list(doctor.libraries())
    assert [line.level for line in lines] == ["ok"]
    for name in ("torch", "peft", "optuna"):
        assert f"{name} {importlib.metadata.version(name)}" in lines[0].finding


def test_an_environment_without_harness_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    (line,) = doctor.libraries()
    assert (line.level, line.needed) == ("warn", False)


def test_the_embedded_model_is_there() -> None:
    (line,) = doctor.embedded_model()
    assert line.level == "ok"
    assert "builtin:tiny" in line.finding


def test_a_missing_embedded_model_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "names", tuple)
    (line,) = doctor.embedded_model()
    assert (line.level, line.needed) == ("no", True)


def broken_check() -> Iterator[Line]:
    yield Line("ok", "one", "fine")
    raise OSError("no such device")


def test_a_check_that_fails_does_not_take_the_others_along() -> None:
    first, second = doctor.guarded(broken_check)
    assert first.level == "ok"
    assert (second.level, second.what) == ("no", "broken_check")
    assert "OSError: no such device" in second.finding


def test_a_finding_is_wrapped_and_its_advice_stands_below() -> None:
    printed = formatted(Line("warn", "libraries", ", ".join(["torch 2.13.0"] * 20), "do this"))
    rows = printed.splitlines()
    assert rows[0].startswith("warn libraries     torch 2.13.0")
    assert all(len(row) <= 99 for row in rows)
    assert rows[-1] == " " * 19 + "-> do this"


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves of the doctor only the disk, which is quick."""
    for name in ("processor", "memory", "gpu", "quantization", "hub"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))
    for name in ("libraries", "embedded_model"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))


@pytest.mark.usefixtures("only", "workplace")
def test_a_sound_machine_gives_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ok   python" in out
    assert "disk" in out
    assert out.endswith("Everything that a sweep needs works.\n")


@pytest.mark.usefixtures("only", "workplace")
def test_a_broken_need_gives_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor, "libraries", lambda: iter([doctor.check_requirement("no-such-library")])
    )
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "no   no-such-library is not installed" in out
    assert "-> pip install 'no-such-library'" in out


def test_nf4_gives_weights_back_with_the_error_of_four_bits() -> None:
    error = doctor.nf4_error("cpu")
    assert 0.05 < error < doctor.NF4_ERROR
    (line,) = doctor.quantization()
    assert line.level == "ok"


def test_a_broken_bitsandbytes_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: str) -> float:
        raise RuntimeError(f"no kernel for {device}")

    monkeypatch.setattr(doctor, "nf4_error", broken)
    (line,) = doctor.quantization()
    assert line.level == "warn"
    assert "RuntimeError: no kernel for cpu" in line.finding
    assert not line.needed


def test_the_processor_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {torch.float32: 3.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(doctor, "matmul_seconds", seconds.__getitem__)
    cores, bf16 = doctor.processor()
    assert f"torch uses {torch.get_num_threads()}" in cores.finding
    assert "3.0 times as fast" in bf16.finding
    seconds[torch.bfloat16] = 6.0
    _, bf16 = doctor.processor()
    assert "keep float32 (the default)" in bf16.finding


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_matrix_product_takes_some_time(dtype: torch.dtype) -> None:
    assert 0 < doctor.matmul_seconds(dtype, rounds=1) < float("inf")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_wrong() -> None:
    (line,) = doctor.gpu()
    assert line.level == "ok"
    assert "processor" in line.finding


@pytest.mark.parametrize(
    ("said", "limit"), [("4294967296\n", 4294967296), ("max\n", None), ("", None)]
)
def test_the_container_limit(tmp_path: Path, said: str, limit: int | None) -> None:
    file = tmp_path / "memory.max"
    file.write_text(said, encoding="ascii")
    assert doctor.container_limit(file) == limit
    assert doctor.container_limit(tmp_path / "gone") is None


@pytest.mark.parametrize(("limit", "level"), [(None, "ok"), (doctor.GIB, "warn")])
def test_memory_is_bounded_by_the_container(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, level: str
) -> None:
    class Memory(NamedTuple):
        available: int = 16 * doctor.GIB

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    monkeypatch.setattr(doctor, "container_limit", lambda: limit)
    (line,) = doctor.memory()
    assert line.level == level


class Answer(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine that answers with `Answer.status`."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "there"), [(200, True), (401, True), (404, True), (503, False), (407, False)]
)
def test_a_refusal_is_an_answer_and_a_broken_gateway_is_none(
    server: str, monkeypatch: pytest.MonkeyPatch, status: int, there: bool
) -> None:
    monkeypatch.setattr(Answer, "status", status)
    assert doctor.reachable(server, seconds=30) is there


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("address", ["not an address", "http://127.0.0.1:{port}"])
def test_nobody_answers(address: str) -> None:
    assert not doctor.reachable(address.format(port=free_port()), seconds=30)


def test_the_hub_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (line,) = doctor.hub()
    assert line.level == "ok"
    assert "switched off by HF_HUB_OFFLINE" in line.finding


@pytest.mark.parametrize(("there", "level"), [(True, "ok"), (False, "warn")])
def test_the_hub_is_asked_at_its_address(
    monkeypatch: pytest.MonkeyPatch, there: bool, level: str
) -> None:
    asked = []

    def answer(address: str) -> bool:
        asked.append(address)
        return there

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    monkeypatch.setattr(doctor, "reachable", answer)
    (line,) = doctor.hub()
    assert line.level == level
    assert asked == ["https://mirror.example"]


@pytest.mark.parametrize(
    ("free", "level"),
    [(doctor.DISK_RECOMMENDED, "ok"), (doctor.DISK_NEEDED, "warn"), (1000, "no")],
)
def test_the_disk_of_a_folder_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free))
    (line,) = doctor.disk(tmp_path / "a" / "b")
    assert (line.level, line.needed) == (level, level == "no")
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way", encoding="ascii")
    (line,) = doctor.disk(tmp_path / "results" / "x")
    assert (line.level, line.needed) == ("no", True)
    assert "cannot be written to" in line.finding
