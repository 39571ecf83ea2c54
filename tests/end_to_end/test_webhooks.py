"""Departments get their notices signed, again until they take them, and over a restart with the same ids."""

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
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually

DELIVERED = 10.0
RETRIED = 25.0  # the first pause is five seconds, give or take a fifth


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


def test_a_department_gets_its_notices_signed(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now, text="电话 13800138000") for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "a webhook")
    (alert,) = eventually(system.alerts, DELIVERED, "the alert")
    assert department.wrong == []
    assert alert in json.dumps(department.got[0].body)
    assert "13800138000" not in json.dumps([each.body for each in department.got])
    taken = eventually(
        lambda: system.items("/v1/deliveries", state="delivered"), DELIVERED, "the delivery in the record"
    )
    assert {each["id"] for each in taken} <= set(department.taken())
    assert len(department.taken()) == len(set(department.taken()))
    assert system.stop() == 0


def test_a_notice_that_was_refused_comes_again_with_the_same_id(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    department.answers = [500]
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now) for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "the first try")
    first = department.got[0]
    assert first.status == 500
    eventually(lambda: first.id in department.taken(), RETRIED, "the second try")
    again = [each for each in department.got if each.id == first.id]
    assert [each.status for each in again] == [500, 204]
    assert again[0].body == again[1].body
    assert department.wrong == []

    def attempts() -> int:
        return int(next(each["attempt"] for each in system.items("/v1/deliveries") if each["id"] == first.id))

    eventually(lambda: attempts() == 2, DELIVERED, "two attempts in the record")
    assert system.stop() == 0


def test_a_restart_between_two_tries_loses_no_notice(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    department.answers = [503] * 20
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now) for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "the first try")
    eventually(
        lambda: [each for each in system.items("/v1/deliveries") if each["attempt"] == 1], DELIVERED, "the first try"
    )
    expected = {each["id"] for each in system.items("/v1/deliveries")}
    system.kill()
    department.answers = []

    system.start()
    eventually(lambda: expected <= set(department.taken()), RETRIED, "every notice after the restart")
    eventually(lambda: not system.items("/v1/deliveries", state="pending"), DELIVERED, "nothing pending")
    assert {each["id"] for each in system.items("/v1/deliveries", state="delivered")} == set(department.taken())
    assert department.wrong == []
    assert system.stop() == 0
