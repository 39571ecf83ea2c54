"""Who waits for standard input can be called back, so that an import ends when it is interrupted."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jianguan.cli.standard_input import StandardInput

DEADLINE = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for each in (reading, writing):
        os.close(each)


def test_bytes_come_as_they_are_written_until_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    buffered = io.BufferedReader(StandardInput(reading))
    os.write(writing, b"one\ntw")
    assert buffered.readline() == b"one\n"
    os.write(writing, b"o\n")
    assert buffered.readline() == b"two\n"
    with open(os.devnull, "rb") as ended:  # noqa: PTH123 - a descriptor is wanted
        assert StandardInput(ended.fileno()).read(1) == b""


def test_a_thread_that_waits_is_called_back(pipe: tuple[int, int]) -> None:
    source = StandardInput(pipe[0])
    found: list[bytes | None] = []
    thread = threading.Thread(target=lambda: found.append(source.read(1)), daemon=True)
    thread.start()
    source.call_back()
    thread.join(DEADLINE)
    assert found == [b""]
    source.close()
    source.close()


class Taking(BaseHTTPRequestHandler):
    """A server that takes what comes, one row at a time, and has recorded nothing."""

    def do_GET(self) -> None:
        self._answer(404, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(202, b'{"accepted": 1, "quarantined": 0}')
        self.server.taken.set()  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.network
def test_an_import_that_waits_for_standard_input_ends_at_the_first_interruption(pipe: tuple[int, int]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        server.taken = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [sys.executable, "-c", "from jianguan.cli import main; main()", "ingest", "-", "--batch", "1"]
        address = ["--server", f"http://127.0.0.1:{server.server_port}", "--submission", "s"]
        with subprocess.Popen([*command, *address], stdin=pipe[0], stderr=subprocess.PIPE) as process:
            os.write(pipe[1], b"{}\n{}\n")  # one goes as soon as the next is there, and then it waits for a third
            assert server.taken.wait(DEADLINE)  # type: ignore[attr-defined]
            process.send_signal(signal.SIGINT)
            try:
                _, said = process.communicate(timeout=DEADLINE)
            finally:
                process.kill()
        server.shutdown()
    assert process.returncode == 130
    assert b"submission s" in said
    assert b"Traceback" not in said
