"""A webhook receiver in a process of its own, that can be killed: it checks signatures and writes down what it took.

    python -m tests.chaos.receiver PORT SECRET_FILE LOG

A line is written before the answer is given, so that what was answered with success is in the log whatever happens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from jianguan.clock import SystemClock
from jianguan.embedded import die_with_parent
from sinks.webhooks.signing import Secret, VerificationError, verify


class Got(NamedTuple):
    """One request. `about` is its kind and what it tells of, the same each time for one id."""

    id: str
    path: str
    about: str
    wrong: str  # what is wrong with its signature; empty when it is right


class Receiver:
    """The process. `spawn` may follow `kill`; the log goes on."""

    def __init__(self, port: int, secret: Path, log: Path) -> None:
        self.port = port
        self.log = log
        self._secret = secret
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it and do not wait."""
        guard = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        command = [sys.executable, "-m", "tests.chaos.receiver", str(self.port), str(self._secret), str(self.log)]
        self._process = subprocess.Popen(
            [*guard, *command], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[2], start_new_session=True
        )

    def kill(self) -> None:
        """kill -9."""
        if self.running:
            assert self._process is not None
            self._process.kill()
            self._process.wait()

    def got(self) -> list[Got]:
        """Everything that it took, over all its lives. A line that was cut off by a kill was not answered."""
        if not self.log.exists():
            return []
        lines = self.log.read_text("utf-8").split("\n")[:-1]
        return [Got(*json.loads(line)) for line in lines if line.startswith("[") and line.endswith("]")]


def read(headers: dict[str, str], path: str, body: bytes, secret: Secret) -> Got:
    """What one request says."""
    try:
        identifier, wrong = verify(headers, body, [secret], SystemClock().now()), ""
    except VerificationError as error:
        identifier, wrong = headers.get("webhook-id", "-"), str(error)
    told = json.loads(body)
    data = told["data"]
    about = data["task"]["id"] if told["type"].startswith("task") else data.get("alert") or data.get("case")
    return Got(identifier, path, f"{told['type']} {about}", wrong)


def main() -> None:
    """Serve until killed."""
    port, secret = int(sys.argv[1]), Secret.parse(Path(sys.argv[2]).read_text("ascii"))
    log = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got = read(dict(self.headers), self.path, body, secret)
            os.write(log, f"{json.dumps(got)}\n".encode())
            self.send_response(400 if got.wrong else 204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    Server(("127.0.0.1", port), Handler).serve_forever(0.1)


if __name__ == "__main__":
    main()
