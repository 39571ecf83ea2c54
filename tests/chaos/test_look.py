"""What the receiver took is read as it is, also when it is wrong; and recovery is counted from the end of a fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from jianguan.clock import SystemClock
from sinks.webhooks.signing import Secret, generate_secret, sign
from tests.chaos.look import LagWatch, received
from tests.chaos.receiver import Got, Receiver, read

SECRET, OTHER = (generate_secret(lambda size, at=at: bytes(range(at, at + size))) for at in (0, 7))  # type: ignore[misc]
BODY = json.dumps({"type": "alert.raised", "data": {"alert": "al-1", "task": {"id": "ta-1"}}}).encode()


def request(identifier: str = "dl-1", secret: Secret = SECRET, body: bytes = BODY) -> Got:
    return read(sign(identifier, SystemClock().now(), BODY, [secret]), "/market", body, SECRET)


def test_a_request_that_is_signed_right_counts_as_received() -> None:
    found = received([request(), request()])
    assert found["received"] == {"dl-1"}
    assert not found["badly-signed"]
    assert not found["ids-of-two-things"]


def test_a_wrong_secret_a_changed_body_and_an_old_time_are_told_and_do_not_count() -> None:
    old = read(sign("dl-3", datetime(2020, 1, 1, tzinfo=UTC), BODY, [SECRET]), "/market", BODY, SECRET)
    found = received([request(secret=OTHER), request("dl-2", body=BODY.replace(b"al-1", b"al-2")), old])
    assert not found["received"]
    assert {each.partition(" ")[0] for each in found["badly-signed"]} == {"dl-1", "dl-2", "dl-3"}


def test_one_id_for_two_matters_is_told() -> None:
    got = request()
    assert received([got, got._replace(about="alert.raised al-9")])["ids-of-two-things"] == {"dl-1"}


def test_a_line_that_a_kill_cut_off_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "received.ndjson"
    log.write_text(f'{json.dumps(request())}\n["dl-2", "/mar', "utf-8")
    assert [each.id for each in Receiver(1, tmp_path / "secret", log).got()] == ["dl-1"]


def test_recovery_is_from_the_end_of_the_fault_to_the_first_moment_with_little_lag() -> None:
    watch = LagWatch(cast(Any, None))
    watch.samples = [(1.0, 5), (2.0, 900), (3.0, 700), (4.0, 20), (5.0, 800)]
    assert watch.recovered(2.5, 50) == 1.5
    assert watch.recovered(4.5, 50) is None
    assert watch.largest() == 900
