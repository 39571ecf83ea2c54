"""The intake judges a record as the stage behind will, by the quick decoder only where that is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from dashboards import Dependencies
from jianguan.clock import VirtualClock
from jianguan.domain.admission import decode
from jianguan.errors import InputError
from jianguan.ports import RawEvent
from jianguan.settings import Settings
from jianguan.wiring import web
from jianguan.wiring.tables import load_tables

EVENT = {
    "kind": "complaint", "id": "1", "source": "12315", "occurred_at": "2026-03-02T09:30:00+08:00",
    "category": "food-safety",
}  # fmt: skip
PLAIN = json.dumps(EVENT).encode()
JSON, CLOUD_EVENT = "application/json", "application/cloudevents+json"
BINARY = (("ce_specversion", b"1.0"), ("ce_type", b"cn.jianguan.violation.v1"), ("ce_id", b"1"), ("ce_source", b"s"))


@pytest.fixture
def judge(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[RawEvent], str]:
    """What the web app is given to judge records with."""
    made: list[Dependencies] = []
    monkeypatch.setattr(web, "create_app", made.append)
    settings, clock = Settings(data=tmp_path), VirtualClock(datetime(2026, 3, 3, tzinfo=UTC))
    nothing = cast(Any, SimpleNamespace())
    web.build_web(
        settings, clock, CollectorRegistry(), load_tables(settings, clock), nothing, nothing, nothing, nothing, nothing,
        nothing, nothing, nothing,
    )  # fmt: skip
    return made[0].admit


def raw(value: bytes, content_type: str = JSON, headers: tuple[tuple[str, bytes], ...] = ()) -> RawEvent:
    return RawEvent(value, content_type, "complaints", "", headers)


def test_what_is_plainly_an_event_is_judged_without_the_contract(
    judge: Callable[[RawEvent], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_the_contract = judge(raw(PLAIN.replace(b"food-safety", b"food\\u002dsafety").replace(b"09:30", b"09\\u003a30")))

    def never(*_: object) -> Any:
        raise AssertionError("the contract was asked")

    monkeypatch.setattr(web, "decode", never)
    assert judge(raw(PLAIN)) == by_the_contract


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [(CLOUD_EVENT, ()), (JSON, BINARY), (CLOUD_EVENT, BINARY)],
    ids=["structured", "binary", "both"],
)
def test_what_should_be_a_cloud_event_is_judged_as_one_though_it_would_be_an_event_in_plain_json(
    judge: Callable[[RawEvent], str], content_type: str, headers: tuple[tuple[str, bytes], ...]
) -> None:
    given = raw(PLAIN, content_type, headers)
    with pytest.raises(InputError) as wanted:
        decode(given.value, given.topic, given.content_type, given.headers)
    with pytest.raises(InputError) as found:
        judge(given)
    assert (found.value.code, str(found.value)) == (wanted.value.code, str(wanted.value))
    assert judge(raw(PLAIN)).startswith("ev-")


def test_an_event_that_the_quick_decoder_leaves_alone_is_judged_by_the_contract(
    judge: Callable[[RawEvent], str],
) -> None:
    with pytest.raises(InputError, match="regin: is not a known field"):
        judge(raw(json.dumps({**EVENT, "regin": "310115"}).encode()))
