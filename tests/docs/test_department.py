"""The code that the department guide gives away does what it says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from jianguan.domain.alert import Alert
from jianguan.domain.casework import CaseDesk
from sinks.webhooks.retry import RetryPolicy
from sinks.webhooks.sender import SendLimits
from sinks.webhooks.signing import Secret, sign
from tests.docs.markdown import blocks
from tests.repository import ROOT

GUIDE = ROOT / "docs/department.md"
NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
SECRET = Secret(bytes(range(32)))
BODY = '{"type":"alert.raised","data":{"title":"预警"}}'.encode()


def _given() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in blocks(GUIDE, "python"):
        exec(compile(block.text, block.where, "exec"), names)
    return names


def test_the_sample_believes_what_we_sign() -> None:
    verify = _given()["verify"]
    headers = sign("dl-1", NOW, BODY, [SECRET])
    assert verify(headers, BODY, SECRET.reveal(), NOW.timestamp()) == "dl-1"


def test_the_sample_believes_either_signature_while_a_secret_is_replaced() -> None:
    verify = _given()["verify"]
    old = Secret(bytes(range(1, 33)))
    headers = sign("dl-1", NOW, BODY, [SECRET, old])
    assert verify(headers, BODY, old.reveal(), NOW.timestamp()) == "dl-1"


@pytest.mark.parametrize(
    "change",
    [
        lambda headers, body: (headers, body + b" "),
        lambda headers, body: ({**headers, "webhook-id": "dl-2"}, body),
        lambda headers, body: ({**headers, "webhook-timestamp": str(int(NOW.timestamp()) + 1)}, body),
        lambda headers, body: ({**headers, "webhook-signature": "v1,AAAA"}, body),
    ],
    ids=["another body", "another id", "another time", "another signature"],
)
def test_the_sample_refuses_what_was_changed(
    change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]],
) -> None:
    headers, body = change(sign("dl-1", NOW, BODY, [SECRET]), BODY)
    with pytest.raises(ValueError, match="no signature matches"):
        _given()["verify"](headers, body, SECRET.reveal(), NOW.timestamp())


def test_the_sample_refuses_a_replay() -> None:
    headers = sign("dl-1", NOW - timedelta(minutes=6), BODY, [SECRET])
    with pytest.raises(ValueError, match="too old"):
        _given()["verify"](headers, BODY, SECRET.reveal(), NOW.timestamp())


def _alert() -> Alert:
    fields: dict[str, Any] = {
        name: () if name in ("events", "joint") else {} if name in ("values", "thresholds") else "x"
        for name in Alert._fields
    }
    numbers = ("version", "time", "window_start", "episode", "episode_end", "raised_at", "received_at", "event_count")
    fields |= {name: 1 for name in numbers if name in fields}
    return Alert(**{**fields, "severity": "high", "clock": None, "notify": True})


def test_the_webhook_in_the_guide_has_the_fields_of_a_real_one() -> None:
    shown = next(each for each in map(json.loads, (block.text for block in blocks(GUIDE, "json"))) if "type" in each)
    outcome = CaseDesk(lambda clock, start: (None, "")).add_alert(_alert(), 1)
    (notice,) = outcome.notices
    real = json.loads(notice.body)
    assert shown.keys() == real.keys()
    assert shown["data"].keys() == real["data"].keys()
    assert shown["data"]["task"].keys() == real["data"]["task"].keys()


def test_the_guide_names_the_times_between_attempts() -> None:
    text = " ".join(GUIDE.read_text(encoding="utf-8").split())
    policy = RetryPolicy()
    seconds = [int(delay.total_seconds()) for delay in policy.delays]
    said = "5 s, 30 s, 2 min, 10 min, 1 h, 3 h, 8 h, 12 h, 24 h and 24 h"
    units = {"s": 1, "min": 60, "h": 3600}
    parts = [part.split() for part in said.replace(" and", ",").split(", ")]
    assert [int(number) * units[unit] for number, unit in parts] == seconds
    assert said in text
    assert f"within {SendLimits().total:g} seconds" in text


@pytest.mark.network
def test_the_sample_acts_on_a_task() -> None:
    taken: list[tuple[str, str | None, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append((self.path, self.headers["Authorization"], body))
            answer = b'{"command": "cm-1", "task": null}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    try:
        answer = _given()["act"](f"http://127.0.0.1:{server.server_port}", "t", "ta-1", "report", "王丽", "已检查")
    finally:
        thread.join(10)
        server.server_close()
    assert answer["command"] == "cm-1"
    assert taken == [("/v1/tasks/ta-1/report", "Bearer t", {"actor": "王丽", "note": "已检查"})]
