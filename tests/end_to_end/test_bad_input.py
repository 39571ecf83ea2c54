"""Whatever is sent has one outcome, named; nothing stops; the outcomes add up to what was sent."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jianguan.clock import SystemClock
from tests.end_to_end.support import System, complaint, eventually

DAYS_91 = "2020-01-01T00:00:00+08:00"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all of this file: what one test sent must not stop it for the next."""
    made = System(tmp_path_factory.mktemp("bad") / "data").start()
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text("utf-8")


class Bad(NamedTuple):
    """One record, and what must become of it."""

    name: str
    value: bytes
    code: str  # "" when it is accepted
    field: str = ""


def written(**fields: Any) -> bytes:
    event = {**complaint(0, SystemClock().now().isoformat()), **fields}
    return json.dumps({name: value for name, value in event.items() if value is not ...}, ensure_ascii=False).encode()


def bads() -> list[Bad]:
    deep = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    return [
        Bad("not JSON", b'{"kind": "complaint"', "not-json"),
        Bad("not JSON at all", "这不是 JSON".encode(), "not-json"),
        Bad("not UTF-8", b'{"kind": "complaint", "id": "\xff\xfe"}', "not-utf8"),
        Bad("GB 18030", written(id="bad-gb", product="预付卡").decode().encode("gb18030"), "not-utf8"),
        Bad("a number", b"42", "not-an-object"),
        Bad("null", b"null", "not-an-object"),
        Bad("a text", b'"complaint"', "not-an-object"),
        Bad("a list", b"[]", "not-an-object"),
        Bad("no fields", b"{}", "missing", "id"),
        Bad("a missing field", written(id="bad-1", category=...), "missing", "category"),
        Bad("an extra field", written(id="bad-2", catgory="x"), "extra-forbidden", "catgory"),
        Bad("a wrong type", written(id=7), "string-type", "id"),
        Bad("a nested wrong type", written(id="bad-3", enterprise="x"), "model-type", "enterprise"),
        Bad("a float of money", written(id="bad-4", amount_fen=1.5), "int-type", "amount_fen"),
        Bad("a negative amount", written(id="bad-5", amount_fen=-1), "greater-than-equal", "amount_fen"),
        Bad(
            "a bad check digit", written(id="bad-6", enterprise={"id": "91310104000000010A"}),
            "bad-check-digit", "enterprise.id",
        ),
        Bad("an unknown region", written(id="bad-7", region="999999"), "unknown-region", "region"),
        Bad("the year 9999", written(id="bad-8", occurred_at="9999-12-31T23:59:59Z"), "time-in-future", "occurred_at"),
        Bad("no zone", written(id="bad-9", occurred_at="2026-01-01T00:00:00"), "timezone-aware", "occurred_at"),
        Bad("seconds", written(id="bad-10", occurred_at=1_700_000_000), "time-format", "occurred_at"),
        Bad("a day that is not", written(id="bad-11", occurred_at="2026-02-30T00:00:00Z"), "", "occurred_at"),
        Bad("NUL in an id", written(id="bad-12\x00"), "control-character", "id"),
        Bad("NUL in a text", written(id="bad-13", text="a\x00b"), "control-character", "text"),
        Bad("a NUL byte", b"\x00", "not-json"),
        Bad("deep nesting", deep, "too-deep"),
        Bad("deep lists", b"[" * 100_000 + b"]" * 100_000, "too-deep"),
        Bad("half a surrogate pair", written(id="bad-14").replace(b"GD000000", rb"\ud800"), "not-json"),
        Bad("a text of 900,000 characters", written(id="bad-15", text="x" * 900_000), "too-large"),
        Bad("a text of 100,000 characters", written(id="bad-16", text="x" * 100_000), "too-long", "text"),
        Bad("another kind", written(id="bad-17", kind="rumour"), "literal-error", "kind"),
        Bad("NaN", written(id="bad-18").replace(b'"GD000000"', b"NaN"), "", "number"),
    ]  # fmt: skip


@pytest.mark.parametrize("bad", bads(), ids=lambda bad: bad.name)
def test_what_cannot_be_used_is_kept_with_a_reason_that_names_the_field(system: System, bad: Bad) -> None:
    submission = "bad-" + "".join(letter for letter in bad.name.lower().replace(" ", "x") if letter.isalnum())
    good = complaint(900_000 + len(bad.name), SystemClock().now().isoformat(), id=f"good beside {bad.name}")
    rows = b"\n".join([bad.value, json.dumps(good).encode()])

    response = system.post(rows, submission)
    assert response.status_code == 202, response.text
    assert system.settled(submission, 2) == {"accepted": 1, "quarantined": 1}
    result = response.json()["results"][0]
    (kept,) = [each for each in system.items("/v1/quarantine") if each["receipt"] == result["receipt"]]
    if bad.code:
        assert kept["code"] == bad.code
    assert kept["field"].split(".")[0] == bad.field.split(".")[0]
    if bad.field:
        assert bad.field in kept["message"] or bad.field.split(".")[0] in kept["field"]
    # The door and the stage behind it say the same.
    assert (result["status"], result["code"], result["field"]) == ("quarantined", kept["code"], kept["field"])


def test_everything_bad_at_once_adds_up(system: System) -> None:
    at = SystemClock().now().isoformat()
    rows = [each.value for each in bads()]
    first = [json.dumps(complaint(number, at)).encode() for number in range(100, 110)]
    conflict = json.dumps(complaint(100, at, category="advertising")).encode()
    late = json.dumps(complaint(120, DAYS_91)).encode()
    history = json.dumps(complaint(121, DAYS_91, historical=True)).encode()
    upload = [*first, *rows, first[0], first[1], conflict, late, history]
    assert system.post(b"\n".join(upload), "all-at-once").status_code == 202
    assert system.settled("all-at-once", len(upload)) == {
        "accepted": len(first) + 1,
        "duplicate": 2,
        "late": 1,
        "quarantined": len(rows) + 1,
    }
    (entry,) = [each for each in system.items("/v1/quarantine", code="conflict") if each["submission"] == "all-at-once"]
    assert entry["field"] == "id"


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"", "application/json", 400),
        (b"\n \n", "application/x-ndjson", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json; charset=gbk", 415),
        (b"42", "application/json", 422),
        (b"[1, 2", "application/json", 422),
        (b"[" * 1_000_000, "application/json", 422),
        (b"x" * (9 * 1024 * 1024), "application/json", 413),
        (b"{" + b'"a":1,' * 200_000 + b'"b":2}', "application/json", 413),
    ],
    ids=["empty", "blank", "text", "gbk", "number", "half a list", "brackets", "9 MB", "a record of 1.2 MB"],
)
def test_an_upload_that_cannot_be_taken_says_why_and_the_next_is_taken(
    system: System, body: bytes, media: str, status: int
) -> None:
    response = system.post(body, "whole", media)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    again = complaint(200, SystemClock().now().isoformat(), id=f"after {status} {len(body)} {media}")
    before = system.outcomes("after-whole").get("accepted", 0)
    system.send([again], "after-whole")
    eventually(lambda: system.outcomes("after-whole").get("accepted", 0) == before + 1, 10, "the next event")


def test_a_bomb_of_gzip_is_refused(system: System) -> None:
    body = gzip.compress(b"\n" * 200_000_000)
    response = system.post(body, "bomb", content_encoding="gzip")
    assert response.status_code == 413


def test_what_was_refused_is_still_there_after_a_restart(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    try:
        system.start()
        for each in bads()[:10]:
            system.post(each.value, "kept")
        before = system.settled("kept", 10)
        assert before == {"quarantined": 10}
        ids = {each["id"] for each in system.items("/v1/quarantine")}
        assert system.stop() == 0
        system.start()
        assert system.outcomes("kept") == before
        assert {each["id"] for each in system.items("/v1/quarantine")} == ids
        assert system.stop() == 0
    finally:
        system.close()
