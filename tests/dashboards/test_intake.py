"""POST /v1/events: what is taken, what is refused, and that nothing is lost."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards import Limits
from dashboards.framing import CLOUD_EVENT, MODES, topic_of
from dashboards.intake import cloud_headers, judge, receipt_of
from jianguan.clock import VirtualClock
from jianguan.domain.ids import event_id
from jianguan.ports import RawEvent
from tests.dashboards.conftest import Build, Site
from tests.dashboards.fakes import World
from tests.dashboards.sample import event
from tests.dashboards.test_framing import split
from tests.docs.markdown import blocks
from tests.repository import ROOT

ZIPPED = gzip.compress(b"{}")


def rows_of(answer: Any) -> list[str]:
    return [row["status"] for row in answer.json()["results"]]


async def test_one_event_is_accepted_with_its_id_and_receipt(site: Site) -> None:
    answer = await site.send(json.dumps(event(1)))
    assert answer.status_code == 202
    assert answer.json() == {
        "submission": "",
        "rows": 1,
        "accepted": 1,
        "quarantined": 0,
        "results": [
            {
                "index": 0,
                "status": "accepted",
                "id": event_id("12315", "T000001"),
                "receipt": "r-1",
                "code": None,
                "field": None,
                "message": None,
            }
        ],
    }
    assert site.world.submitted[0].key == event_id("12315", "T000001")


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/ndjson", "application/jsonl"])
async def test_lines_are_judged_one_by_one(site: Site, content_type: str) -> None:
    lines = [json.dumps(event(1)), "{broken", "", json.dumps(event(2))]
    answer = await site.send("\n".join(lines), content_type)
    assert answer.status_code == 202
    assert rows_of(answer) == ["accepted", "quarantined", "accepted"]
    assert [raw.value for raw in site.world.submitted] == [lines[0].encode(), b"{broken", lines[3].encode()]


async def test_an_array_is_judged_row_by_row_and_keeps_the_bytes_of_each(site: Site) -> None:
    first, second = json.dumps(event(1), ensure_ascii=False), '{"id":  "x"}'
    answer = await site.send(f"[{first} , {second}]")
    assert rows_of(answer) == ["accepted", "quarantined"]
    assert [raw.value for raw in site.world.submitted] == [first.encode(), second.encode()]


@pytest.mark.parametrize(
    "row",
    [
        "42", "null", '"text"', "[]", "{}", "\x00", '{"id": "\\u0000"}', "nonsense", "{'a': 1}", "NaN", "1e999",
        "[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, '{"id": "\\ud800"}', "{}\ufeff",
        json.dumps({**event(1), "occurred_at": "yesterday"}), json.dumps({**event(1), "unknown_field": 1}),
    ],
)  # fmt: skip
async def test_a_bad_row_has_an_outcome_and_is_kept(site: Site, row: str) -> None:
    answer = await site.send(f"{row}\n{json.dumps(event(1))}", "application/x-ndjson")
    assert answer.status_code == 202
    assert rows_of(answer) == ["quarantined", "accepted"]
    bad = answer.json()["results"][0]
    assert bad["code"]
    assert bad["message"]
    assert bad["id"] is None
    assert site.world.submitted[0].value == row.encode()
    assert len(site.world.quarantine_) == 1


async def test_bytes_that_are_not_utf8_are_quarantined_whole(site: Site) -> None:
    answer = await site.send(b'{"id": "\xff\xfe"}')
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "all-invalid"
    assert rows_of(answer) == ["quarantined"]
    assert site.world.submitted[0].value == b'{"id": "\xff\xfe"}'


async def test_an_array_that_is_cut_short_is_kept_as_one_record(site: Site) -> None:
    body = f"[{json.dumps(event(1))}, {json.dumps(event(2))[:20]}"
    answer = await site.send(body)
    assert answer.status_code == 422
    assert answer.json()["code"] == "not-an-array"
    assert [raw.value for raw in site.world.submitted] == [body.encode()]


async def test_a_message_never_repeats_what_was_sent(site: Site) -> None:
    answer = await site.send(json.dumps({**event(1), "reporter": {"phone": "1380013" * 20}}))
    assert answer.status_code == 422
    assert "1380013" not in answer.text


@pytest.mark.parametrize(("body", "code"), [(b"", "empty"), (b"   ", "empty"), (b"[]", "empty")])
async def test_an_upload_without_records_is_refused(site: Site, body: bytes, code: str) -> None:
    answer = await site.send(body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "", "application/json; charset=gbk"])
async def test_an_unknown_content_type_is_refused(site: Site, content_type: str) -> None:
    answer = await site.send(json.dumps(event(1)), content_type)
    assert answer.status_code == 415
    assert site.world.submitted == []


async def test_utf8_may_be_said(site: Site) -> None:
    assert (await site.send(json.dumps(event(1)), "application/json; charset=UTF-8")).status_code == 202


# gzip


async def test_gzip_is_understood_also_in_several_members(site: Site) -> None:
    body = gzip.compress(json.dumps(event(1)).encode() + b"\n") + gzip.compress(json.dumps(event(2)).encode())
    answer = await site.send(body, "application/x-ndjson", Content_Encoding="gzip")
    assert rows_of(answer) == ["accepted", "accepted"]


@pytest.mark.parametrize(
    "body", [b"", b"not gzip", ZIPPED[:-9], ZIPPED + b"tail"], ids=["empty", "other", "cut", "tail"]
)
async def test_bad_gzip_is_refused(site: Site, body: bytes) -> None:
    answer = await site.send(body, Content_Encoding="gzip")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-gzip")


async def test_a_gzip_bomb_stops_at_the_limit(build: Build) -> None:
    site = build(limits=Limits(inflated_bytes=100_000))
    answer = await site.send(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")
    assert (answer.status_code, answer.json()["code"]) == (413, "inflated-too-large")
    assert site.world.submitted == []


async def test_an_unknown_encoding_is_refused(site: Site) -> None:
    assert (await site.send(b"{}", Content_Encoding="br")).status_code == 415


# limits


async def test_a_body_above_the_limit_is_refused_also_without_a_length(build: Build) -> None:
    site = build(limits=Limits(body_bytes=1000))

    async def parts() -> Any:
        for _ in range(20):
            yield b" " * 100

    said = await site.send(b" " * 1001)
    unsaid = await site.client.post("/v1/events", content=parts(), headers={"Content-Type": "application/json"})
    assert (said.status_code, unsaid.status_code) == (413, 413)


async def test_too_many_rows_are_refused_whole(build: Build) -> None:
    site = build(limits=Limits(rows=2))
    answer = await site.send("\n".join(["{}"] * 3), "application/x-ndjson")
    assert (answer.status_code, answer.json()["code"]) == (413, "too-many-rows")
    assert site.world.submitted == []
    as_many_as_may_be = "\n".join(json.dumps(event(number)) for number in range(2))
    assert (await site.send(as_many_as_may_be, "application/x-ndjson")).status_code == 202


async def test_a_row_that_is_too_large_for_an_event_is_handed_on_whole(site: Site) -> None:
    row = json.dumps(event(1, text="")).replace('"text": ""', f'"text": "{"x" * 1_048_000}"')
    assert 1_048_000 < len(row) <= 1024 * 1024
    answer = await site.send(row)
    assert (answer.status_code, answer.json()["results"][0]["code"]) == (422, "too-large")
    assert site.world.submitted[0].value == row.encode()
    (record,) = site.world.quarantine_.values()
    assert record.raw == row.encode()
    assert (await site.send(row + " " * 0 + "x" * 2_000)).status_code == 413


async def test_a_row_above_the_limit_is_refused(build: Build) -> None:
    site = build(limits=Limits(row_bytes=100))
    answer = await site.send(json.dumps({"text": "x" * 200}))
    assert (answer.status_code, answer.json()["code"]) == (413, "row-too-large")


async def test_a_client_that_sends_too_much_is_told_when_to_come_back(build: Build) -> None:
    site = build(limits=Limits(rows_per_second=1.0, rows_burst=5.0))
    lines = "\n".join(json.dumps(event(number)) for number in range(8))
    assert (await site.send(lines, "application/x-ndjson")).status_code == 202
    refused = await site.send(json.dumps(event(9)))
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert refused.headers["retry-after"] == "4"
    site.clock.advance(timedelta(seconds=4))
    assert (await site.send(json.dumps(event(9)))).status_code == 202


@pytest.mark.parametrize(("rows", "text"), [(2_000, "x"), (20, "x" * 100_000)], ids=["many", "large"])
async def test_others_have_their_turn_while_rows_are_judged(build: Build, rows: int, text: str) -> None:
    turns, seen = 0, set()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def admit(raw: RawEvent) -> str:
        seen.add(turns)
        return raw.key

    site = build(admit=admit)
    beside = asyncio.create_task(others())
    await site.send("\n".join([json.dumps({"text": text})] * rows), "application/x-ndjson")
    beside.cancel()
    assert len(seen) >= 5


async def test_others_have_their_turn_while_a_large_upload_is_split(build: Build) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    answer = await build().send(b"[" * 4 * 1024 * 1024)
    beside.cancel()
    assert (answer.status_code, answer.json()["code"]) == (413, "row-too-large")
    assert turns > 100


async def test_a_saturated_gateway_says_so_at_once(build: Build) -> None:
    site = build(limits=Limits(uploads_in_flight=0))
    answer = await site.send(json.dumps(event(1)))
    assert (answer.status_code, answer.json()["code"]) == (429, "saturated")
    assert "retry-after" in answer.headers


async def test_an_upload_that_is_through_or_was_refused_makes_room_for_the_next(build: Build) -> None:
    site = build(limits=Limits(uploads_in_flight=1))
    for body, media, status in [
        (json.dumps(event(1)), "application/json", 202),
        ("", "application/json", 400),
        ("{", "application/json", 422),
        (json.dumps(event(2)), "application/json", 202),
    ]:
        assert (await site.send(body, media)).status_code == status


async def test_bytes_in_flight_are_bounded(build: Build) -> None:
    site = build(limits=Limits(bytes_in_flight=1000))
    assert (await site.send(json.dumps(event(1)))).status_code == 202
    answer = await site.send(json.dumps(event(2, address="x" * 300)) * 4, "application/x-ndjson")
    assert (answer.status_code, answer.json()["code"]) == (429, "saturated")
    assert (await site.send(json.dumps(event(3)))).status_code == 202


async def test_bytes_that_have_come_count_before_their_upload_is_whole(build: Build) -> None:
    site = build(limits=Limits(bytes_in_flight=1000))
    go_on = asyncio.Event()

    async def parts() -> Any:
        yield b" " * 600
        await go_on.wait()
        yield json.dumps(event(1)).encode()

    async def upload() -> Any:
        return await site.client.post("/v1/events", content=parts(), headers={"Content-Type": "application/json"})

    first = asyncio.create_task(upload())
    await asyncio.sleep(0.05)
    refused = await asyncio.wait_for(upload(), 1)
    assert (refused.status_code, refused.json()["code"]) == (429, "saturated")
    go_on.set()
    assert (await first).status_code == 202
    assert (await site.send(json.dumps(event(2)))).status_code == 202


async def test_bytes_count_while_they_are_inflated(build: Build) -> None:
    site = build(limits=Limits(bytes_in_flight=100_000))
    without_end = gzip.compress(b" " * 5_000_000)[:-8]
    answer = await site.send(without_end, Content_Encoding="gzip")
    assert (answer.status_code, answer.json()["code"]) == (429, "saturated")
    row = json.dumps(event(1)).encode()
    assert (await site.send(gzip.compress(row), Content_Encoding="gzip")).status_code == 202


odd = st.text("[]{}\"',:\\ntrue0123. \x00é", max_size=60).map(str.encode)


@given(st.binary(max_size=200) | odd, st.sampled_from(sorted(MODES)))
def test_whatever_comes_has_an_outcome_and_its_bytes_are_kept(body: bytes, media: str) -> None:
    world = World(VirtualClock(datetime(2026, 11, 23, tzinfo=UTC)))
    frames = split(body, MODES[media])
    for row in frames.rows:
        verdict = judge(RawEvent(row, media, topic_of(row, media), "", ()), world.admit, 10_000)
        assert verdict.raw.key
        assert verdict.raw.value == row
        assert row in body
        assert (verdict.error is None) == (verdict.id is not None)
    if not frames.rows:
        assert body.strip(b" \t\r\n,[]") == b""


async def test_an_unavailable_broker_is_503_and_takes_nothing(site: Site) -> None:
    site.world.down = True
    answer = await site.send(json.dumps(event(1)))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert site.world.submitted == []
    site.world.down = False
    assert (await site.send(json.dumps(event(1)))).status_code == 202


# CloudEvents


def cloud(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"C{number}",
        "source": "https://12315.example",
        "type": "cn.jianguan.complaint.v1",
        "time": "2026-11-20T01:00:00Z",
        "data": {"category": "advertising"},
    }


async def test_a_structured_cloud_event_is_taken(site: Site) -> None:
    answer = await site.send(json.dumps(cloud(1)), "application/cloudevents+json")
    assert answer.json()["results"][0]["id"] == event_id("https://12315.example", "C1")
    assert site.world.submitted[0].content_type == "application/cloudevents+json"


async def test_a_batch_of_cloud_events_is_taken_row_by_row(site: Site) -> None:
    batch = [cloud(1), {**cloud(2), "specversion": "0.3"}]
    answer = await site.send(json.dumps(batch), "application/cloudevents-batch+json")
    assert rows_of(answer) == ["accepted", "quarantined"]


async def test_a_batch_that_is_no_array_is_one_record(site: Site) -> None:
    answer = await site.send('{"a": 1}', "application/cloudevents-batch+json")
    assert (answer.status_code, answer.json()["code"]) == (422, "not-an-array")
    assert len(site.world.submitted) == 1
    assert rows_of(await site.send(json.dumps(cloud(1)), "application/cloudevents-batch+json")) == ["accepted"]


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", json.dumps(event(1))),
        ("application/json", json.dumps([event(1)])),
        ("application/x-ndjson", json.dumps(event(1)) + "\n"),
    ],
)
async def test_a_byte_order_mark_before_an_upload_is_no_part_of_its_first_record(
    site: Site, media: str, body: str
) -> None:
    answer = await site.send("\ufeff" + body, media)
    assert (answer.status_code, answer.json().get("accepted")) == (202, 1)
    assert json.loads(site.world.submitted[0].value) == event(1)


async def test_a_binary_cloud_event_becomes_a_structured_one(site: Site) -> None:
    answer = await site.send(
        json.dumps({"category": "hygiene", "result": "fail"}),
        ce_specversion="1.0",
        ce_id="B%201",
        ce_source="inspections",
        ce_type="cn.jianguan.violation.v1",
        ce_time="2026-11-20T01:00:00Z",
    )
    assert answer.status_code == 202, answer.text
    raw = site.world.submitted[0]
    assert raw.topic == "violations"
    assert (raw.headers, raw.content_type) == ((), "application/cloudevents+json")
    assert json.loads(raw.value)["id"] == "B 1"
    assert answer.json()["results"][0]["id"] == event_id("inspections", "B 1")


@pytest.mark.parametrize(
    ("header", "source"),
    [
        ("shanghai", "shanghai"),
        ('"shanghai"', "shanghai"),
        (r'"a \"b\" \\c"', r'a "b" \c'),
        ('"%E4%B8%8A%E6%B5%B7"', "上海"),
        ("上海".encode().decode("latin-1"), "上海"),
        ('"open', '"open'),
        ('"a" and "b"', '"a" and "b"'),
        ("100%", "100%"),
    ],
)
def test_an_attribute_in_a_header_may_be_quoted_and_percent_encoded(header: str, source: str) -> None:
    """Quotes first, then percent signs, as the HTTP binding has it. It allows no plain bytes, but they come."""
    assert cloud_headers({"ce-source": header, "source": "x"}) == (("ce_source", source.encode()),)


async def test_a_binary_cloud_event_from_quarantine_is_whole_when_it_is_submitted_again(site: Site) -> None:
    sent = {"ce_specversion": "1.0", "ce_id": "B2", "ce_source": "s", "ce_type": "cn.jianguan.complaint.v1"}
    refused = await site.send('{"category": "price", "region": "999999"}', **sent)
    assert refused.status_code == 422
    (record,) = site.world.quarantine_.values()
    assert (await site.client.post(f"/v1/quarantine/{record.id}/retry")).status_code == 202
    again = list(site.world.quarantine_.values())[-1]
    assert (again.code, again.field) == (record.code, record.field) == ("missing", "occurred_at")
    assert json.loads(again.raw)["id"] == "B2"


async def test_a_conflict_from_quarantine_is_submitted_again_where_the_first_of_its_event_was(site: Site) -> None:
    assert (await site.send("{")).status_code == 422
    ((identifier, record),) = site.world.quarantine_.items()
    attributes = {"specversion": "1.0", "type": "cn.jianguan.complaint.v1", "id": "T000001", "source": "12315"}
    conflict = json.dumps({**attributes, "data": event(1, product="other")}).encode()
    kept = record._replace(code="conflict", raw=conflict, content_type=CLOUD_EVENT, submission="march")
    site.world.quarantine_[identifier] = kept
    assert (await site.send(json.dumps(event(1)))).status_code == 202
    assert (await site.client.post(f"/v1/quarantine/{identifier}/retry")).status_code == 202
    _, first, again = site.world.submitted
    assert (again.value, again.content_type, again.submission) == (conflict, kept.content_type, "march")
    assert again.key == first.key == event_id("12315", "T000001")


async def test_a_binary_cloud_event_that_is_no_json_is_kept_as_it_came(site: Site) -> None:
    sent = {"ce_specversion": "1.0", "ce_id": "B3", "ce_source": "s", "ce_type": "cn.jianguan.complaint.v1"}
    assert (await site.send("{", **sent)).status_code == 422
    raw = site.world.submitted[0]
    assert (raw.value, dict(raw.headers)["ce_id"]) == (b"{", b"B3")


# submissions


async def test_a_submission_can_be_followed_to_its_outcomes(site: Site) -> None:
    body = "\n".join([json.dumps(event(1)), json.dumps(event(1)), "{"])
    await site.send(body, "application/x-ndjson", Jianguan_Submission="upload-7")
    answer = await site.client.get("/v1/submissions/upload-7")
    assert answer.json() == {
        "submission": "upload-7",
        "outcomes": {"accepted": 1, "duplicate": 1, "late": 0, "quarantined": 1},
        "records": 3,
    }


async def test_the_answer_in_the_integrators_guide_is_the_one_that_is_given(site: Site) -> None:
    told = next(
        json.loads(block.text) for block in blocks(ROOT / "docs/integrator.md", "json") if '"rows"' in block.text
    )
    rows = [json.dumps(event(1)), json.dumps({**event(2), "region": "999999"})]
    answer = await site.send("\n".join(rows), "application/x-ndjson", Jianguan_Submission="march-2026")
    given = answer.json()
    key = receipt_of("march-2026-part-001", RawEvent(b"", "application/json", "complaints", ""), 0)
    assert [len(each["receipt"]) for each in told["results"]] == [len(key)] * 2
    for each, real in zip(told["results"], given["results"], strict=True):
        del each["receipt"], real["receipt"]
        assert (each["id"] or "")[:3] == (real["id"] or "")[:3]
        del each["id"], real["id"]
    assert told == given


async def test_a_submission_of_which_nothing_is_recorded_is_not_known(site: Site) -> None:
    answer = await site.client.get("/v1/submissions/unheard-of")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown-submission")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["Upper", "a b", "-a", "a" * 65, "a--b", "ü"])
async def test_a_submission_name_must_be_a_slug(site: Site, name: str) -> None:
    answer = await site.client.post(
        "/v1/events",
        content=json.dumps(event(1)),
        headers=[(b"content-type", b"application/json"), (b"jianguan-submission", name.encode())],
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-submission")


async def test_rows_without_a_kind_take_it_from_the_address(site: Site) -> None:
    row = {key: value for key, value in event(1).items() if key != "kind"}
    answer = await site.client.post("/v1/events?kind=violation", json={**row, "result": "pass"})
    assert answer.status_code == 202
    assert site.world.submitted[0].topic == "violations"
    assert (await site.client.post("/v1/events?kind=nonsense", json=row)).status_code == 400


async def test_a_misspelt_parameter_is_refused_and_nothing_is_taken(site: Site) -> None:
    answer = await site.client.post("/v1/events?kidn=violation", json=event(1))
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown-parameter")
    assert answer.json()["detail"] == "kidn is not a known parameter, did you mean kind?"
    assert site.world.submitted == []
    assert (await site.client.get("/v1/submissions/s?x=1")).status_code == 422


async def test_a_judge_that_breaks_its_promise_does_not_lose_the_row(build: Build) -> None:
    def admit(raw: object) -> str:
        raise RecursionError

    site = build()
    site = build(admit=admit, limits=replace(site.deps.limits, rows=5))
    answer = await site.send("{}")
    assert (answer.status_code, answer.json()["results"][0]["code"]) == (422, "too-deep")
    assert len(site.world.submitted) == 1


async def test_a_defect_at_the_door_is_a_guarded_problem_and_is_counted(build: Build) -> None:
    def admit(raw: object) -> str:
        raise ZeroDivisionError("secret")

    site = build(admit=admit)
    answer = await site.send("{}")
    assert (answer.status_code, answer.json()["code"]) == (500, "defect")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "secret" not in answer.text
    counted = (await site.client.get("/metrics")).text
    assert 'jianguan_http_requests_total{method="POST",route="/v1/events",status="500"} 1.0' in counted


async def test_of_a_header_that_is_sent_twice_the_first_counts(site: Site) -> None:
    twice = [("Content-Type", "application/json"), ("Jianguan-Submission", "first"), ("Jianguan-Submission", "second")]
    answer = await site.client.post("/v1/events", content=json.dumps(event(1)), headers=twice)
    assert (answer.status_code, answer.json()["submission"]) == (202, "first")
    twice = [("Host", "localhost"), ("Host", "elsewhere"), ("Content-Type", "application/json")]
    assert (await site.client.post("/v1/events", content="{}", headers=twice)).status_code == 422
    twice[:2] = reversed(twice[:2])
    assert (await site.client.post("/v1/events", content="{}", headers=twice)).status_code == 421
