"""A department of the tests: takes webhooks on loopback, checks their signatures, answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jianguan.clock import SystemClock
from sinks.webhooks.signing import Secret, VerificationError, generate_secret, verify


class Got(NamedTuple):
    """One request, signature checked."""

    id: str
    path: str
    body: dict[str, Any]
    status: int  # what was answered


class Department:
    """A receiver on loopback. It answers `answers` in turn, then 204."""

    def __init__(self, secret: Secret) -> None:
        self.secret = secret
        self.got: list[Got] = []
        self.answers: list[int] = []
        self.wrong: list[str] = []
        department = self
        clock = SystemClock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = department.answers.pop(0) if department.answers else 204
                try:
                    identifier = verify(dict(self.headers), body, [department.secret], clock.now())
                except VerificationError as error:
                    department.wrong.append(str(error))
                    raise
                department.got.append(Got(identifier, self.path, json.loads(body), status))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing: pytest shows enough."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def taken(self) -> list[str]:
        """Ids of the notices that were answered with success."""
        return [each.id for each in self.got if each.status == 204]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def department() -> Iterator[Department]:
    """The lead department of the tests' rules."""
    made = Department(generate_secret(lambda size: bytes(range(size))))
    yield made
    made.close()


@pytest.fixture
def receivers(tmp_path: Path, department: Department) -> Path:
    """The list of receivers: one of them takes the notices of the lead department."""
    (tmp_path / "secret").write_text(department.secret.reveal() + "\n", "ascii")
    path = tmp_path / "receivers.yaml"
    path.write_text(
        f"""\
receivers:
  - id: market
    department: market-regulation
    url: http://127.0.0.1:{department.port}/hooks
    secret_file: secret
    allow_private: true
    allow_http: true
""",
        "utf-8",
    )
    return path
