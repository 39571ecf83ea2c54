"""From bytes to an event or a reason: every bad input has its reason, and no reason holds what is personal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jianguan.domain.admission import Model, admit, check, decode, without_personal
from jianguan.domain.event import Event, Personal
from jianguan.errors import InputError
from tests.domain.support import DAY, NOW, USCC, encoded, reference, wire

Headers = tuple[tuple[str, bytes], ...]
STRUCTURED = "application/cloudevents+json"
TYPE = "cn.jianguan.complaint.v1"


def judge(
    value: bytes,
    topic: str = "complaints",
    content_type: str = "application/json",
    headers: Headers = (),
    at: int = NOW,
) -> Event:
    return admitted(decode(value, topic, content_type, headers), at)[0]


def admitted(model: Model, at: int) -> tuple[Event, Personal | None]:
    """What `admit` says, of which `check` must say the same in advance."""
    try:
        event, personal = admit(model, reference(), at)
    except InputError as error:
        with pytest.raises(InputError) as before:
            check(model, reference(), at)
        if said(before.value) != said(error):
            pytest.fail(f"check says {said(before.value)}, admit {said(error)}")
        raise
    assert check(model, reference(), at) == event.id
    return event, personal


def said(error: InputError) -> tuple[str, str, str]:
    return error.code, error.field, str(error)


def refused(value: bytes, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        judge(value, **options)
    return caught.value


def envelope(**changes: Any) -> dict[str, Any]:
    made = {
        "specversion": "1.0",
        "id": "1",
        "source": "12315",
        "type": TYPE,
        "data": wire(id=None, source=None),
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def test_a_plain_complaint_is_admitted_flat_with_normalised_codes() -> None:
    event = judge(
        encoded(
            region="310115", industry="H62", enterprise={"id": USCC, "name": "长城"}, amount_fen=100, tags=["a", "b"]
        )
    )
    assert event.kind == "complaint"
    assert event.region == "cn:310115"
    assert event.industry == "cn:H62"
    assert event.enterprise == f"uscc:{USCC}"
    assert event.occurred_at == NOW - 13 * 60_000 - 20_000 - 60 * 60_000
    assert event.tags == ("a", "b")


BAD: dict[str, tuple[bytes, str, str]] = {
    "nothing": (b"", "empty", ""),
    "not JSON": (b"{", "not-json", ""),
    "not UTF-8": (b'{"id":"\xff"}', "not-utf8", ""),
    "a number": (b"5", "not-an-object", ""),
    "a list": (b"[]", "not-an-object", ""),
    "null": (b"null", "not-an-object", ""),
    "deeply nested lists": (b"[" * 10_000 + b"]" * 10_000, "too-deep", ""),
    "deeply nested objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too-deep", ""),
    "half of a surrogate pair": (b'{"id":"\\ud800"}', "not-json", ""),
    "a missing field": (encoded(category=None), "missing", "category"),
    "an extra field": (encoded(catgory="x"), "extra-forbidden", "catgory"),
    "a wrong type": (encoded(id=5), "string-type", "id"),
    "a number as text": (encoded(amount_fen="5"), "int-type", "amount_fen"),
    "a float as money": (encoded(amount_fen=1.5), "int-type", "amount_fen"),
    "a huge number": (encoded(amount_fen=10**30), "less-than-equal", "amount_fen"),
    "a number of 5,000 digits": (b'{"amount_fen":1' + b"0" * 5_000 + b"}", "not-json", ""),
    "null where a value is required": (b'{"id":null}', "string-type", "id"),
    "a bad check digit": (encoded(enterprise={"id": USCC[:-1] + "A"}), "bad-check-digit", "enterprise.id"),
    "an unknown region": (encoded(region="990000"), "unknown-region", "region"),
    "an unknown industry": (encoded(industry="Z99"), "unknown-industry", "industry"),
    "a time without zone": (encoded(occurred_at="2026-11-23T14:00:00"), "timezone-aware", "occurred_at"),
    "a day": (encoded(occurred_at="2026-11-23"), "timezone-aware", "occurred_at"),
    "a number as time": (encoded(occurred_at=1_700_000_000), "time-format", "occurred_at"),
    "digits as time": (encoded(occurred_at="1700000000"), "time-format", "occurred_at"),
    "a day without dashes as time": (encoded(occurred_at="20260101"), "time-format", "occurred_at"),
    "true as time": (encoded(occurred_at=True), "time-format", "occurred_at"),
    "the year 9999": (encoded(occurred_at="9999-12-31T23:59:59-14:00"), "time-in-future", "occurred_at"),
    "the year 1": (encoded(occurred_at="0001-01-01T00:00:00+14:00"), "time-too-early", "occurred_at"),
    "before 1970": (encoded(occurred_at="1969-12-31T23:59:59Z"), "time-too-early", "occurred_at"),
    "text of a megabyte": (encoded(text="字" * 350_000), "too-long", "text"),
    "NUL in a field": (encoded(product="a\0b"), "control-character", "product"),
    "a group separator in a field": (encoded(product="a\x1fb"), "control-character", "product"),
    "NaN as position": (b'{"position":{"latitude":NaN,"longitude":0}}', "finite-number", "position.latitude"),
    "infinity as position": (
        b'{"position":{"latitude":0,"longitude":-Infinity}}',
        "finite-number",
        "position.longitude",
    ),
    "a position off the globe": (
        encoded(position={"latitude": 91, "longitude": 0}),
        "less-than-equal",
        "position.latitude",
    ),
    "another kind": (encoded(kind="violation"), "literal-error", "kind"),
    "too many tags": (encoded(tags=["a"] * 33), "too-long", "tags"),
    "blank id": (encoded(id="  "), "too-short", "id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_refused_with_its_code_and_field(name: str) -> None:
    value, code, field = BAD[name]
    if field and not value.startswith((b'{"source', b'{"id": "1"')) and b'"category"' not in value:
        # The record lacks more than the field in question: what counts is that the field is named too.
        assert f"{field}: " in str(refused(value))
        return
    error = refused(value)
    assert (error.code, error.field) == (code, field)
    assert len(str(error)) < 500
    assert "after validation" not in str(error)


def test_a_misspelt_field_is_met_with_a_suggestion() -> None:
    assert "did you mean category?" in str(refused(encoded(catgory="x")))


@pytest.mark.parametrize("number", ["13800138000", "138 0013 8000", "11010519491231002X", "zhang@example.com"])
def test_a_name_of_a_field_that_is_a_reporters_number_is_not_told(number: str) -> None:
    named: dict[str, Any] = {number: "x"}
    for error in (refused(encoded(**named)), refused(encoded(reporter=named))):
        assert number not in f"{error} {error.field}"
        assert "is not a known field" in str(error)


@pytest.mark.parametrize(("kind", "topic"), [("complaints", "complaints"), (7, "violations")])
def test_a_kind_that_there_is_not_is_met_with_all_that_there_are(kind: object, topic: str) -> None:
    error = refused(encoded(kind=kind), topic=topic)
    assert (error.code, error.field) == ("literal-error", "kind")
    assert "kind: is not one of the allowed values ('complaint', 'violation', 'consumer-rights')" in str(error)


def test_a_kind_that_its_topic_does_not_take_is_met_with_the_one_that_it_does() -> None:
    text = "kind: is not one of the allowed values ('complaint')"
    assert text in str(refused(encoded(kind="violation")))
    data = wire(kind="violation")
    assert text in str(refused(json.dumps(envelope(data=data)).encode(), content_type=STRUCTURED))


def test_a_field_of_another_kind_is_met_with_that_kind() -> None:
    assert "result: is not a known field of a complaint event; violation has it: set kind" in str(
        refused(encoded(result="x"))
    )
    error = refused(encoded(kind="violation", result="pass", reporter={}), topic="violations")
    assert str(error) == "reporter: is not a known field of a violation event; complaint and consumer-rights have it"


def test_names_that_the_sender_made_up_are_cut_and_printable() -> None:
    error = refused(encoded(**{"x" * 10_000: 1, "\x1b[2J": 2}))
    assert len(str(error)) < 1_000
    assert len(error.field) <= 64
    assert str(error).isprintable()


def test_of_many_wrong_tags_the_first_is_told_and_no_other_looked_at() -> None:
    """A record has room for 100,000 of them, and a reason for each takes a tenth of a second to make."""
    assert str(refused(encoded(tags=[0] * 80_000))) == "tags.0: input should be a valid string"
    assert str(refused(encoded(tags=["a", "B", "C"], regin="x"))).startswith("tags.1: ")
    assert "regin: is not a known field" in str(refused(encoded(tags=["a", "B", "C"], regin="x")))


def test_the_last_of_two_equal_keys_counts() -> None:
    assert judge(encoded()[:-1] + b',"product":"a","product":"b"}').product == "b"


def test_a_plain_record_that_only_mentions_specversion_is_not_a_cloud_event() -> None:
    assert judge(encoded(product="specversion")).product == "specversion"


@pytest.mark.parametrize(
    "content_type", [STRUCTURED, "application/cloudevents+json; charset=utf-8", "application/json"]
)
def test_a_structured_cloud_event_fills_what_its_data_lacks(content_type: str) -> None:
    value = json.dumps(envelope(data={"category": "food-safety"}, time="2026-11-23T14:00:00+08:00")).encode()
    assert judge(value, content_type=content_type) == judge(encoded())


@pytest.mark.parametrize(
    ("name", "own", "of_envelope"),
    [("id", "2", "1"), ("source", "own", "12315"), ("occurred_at", "2026-11-20T00:00:00Z", "2026-11-23T06:00:00Z")],
)
def test_what_the_data_of_a_cloud_event_says_counts_before_its_envelope(name: str, own: str, of_envelope: str) -> None:
    sent = envelope(id="1", source="12315", time="2026-11-23T06:00:00Z")
    lacking = {key: value for key, value in wire().items() if key not in ("id", "source", "occurred_at")}
    said = {"id": "1", "source": "12315", "occurred_at": "2026-11-23T06:00:00Z"}
    for data, value in ((lacking, of_envelope), ({**lacking, name: own}, own)):
        found = judge(json.dumps({**sent, "data": data}).encode(), content_type=STRUCTURED)
        assert found._replace(received_at=0) == judge(json.dumps(lacking | said | {name: value}).encode())._replace(
            received_at=0
        )


@pytest.mark.parametrize(
    "said", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", "text/json",
             "application/vnd.city.complaint+json"],
)  # fmt: skip
def test_the_data_of_a_cloud_event_may_be_called_json_in_every_way_that_there_is(said: str) -> None:
    found = judge(json.dumps(envelope(datacontenttype=said)).encode(), content_type=STRUCTURED)
    assert found == judge(json.dumps(envelope()).encode(), content_type=STRUCTURED)


def test_a_reporter_is_recognised_by_phone_before_id_card_before_name() -> None:
    whole = {"phone": "13900001111", "id_card": "11010119900307123X", "name": "张三"}

    def known_by(*names: str) -> str | None:
        return judge(encoded(reporter={name: whole[name] for name in names})).reporter

    assert known_by("phone", "id_card", "name") == known_by("phone")
    assert known_by("id_card", "name") == known_by("id_card")
    assert len({known_by("phone"), known_by("id_card"), known_by("name"), known_by()}) == 4


def test_a_binary_cloud_event_is_the_same_event() -> None:
    headers = (("ce_specversion", b"1.0"), ("CE_Id", b"1"), ("ce_source", b"12315"), ("ce_type", TYPE.encode()))
    assert judge(encoded(id=None, source=None), headers=headers) == judge(encoded())


BAD_ENVELOPES: dict[str, tuple[dict[str, Any], str]] = {
    "no id": ({"id": None}, "id"),
    "an empty id": ({"id": ""}, "id"),
    "an unknown type": ({"type": "com.example.order"}, "type"),
    "a type of another topic": ({"type": "cn.jianguan.violation.v1"}, "type"),
    "another version": ({"specversion": "0.3"}, "specversion"),
    "a list as data": ({"data": []}, "data"),
    "text as data": ({"data": "x"}, "data"),
    "no data": ({"data": None}, "data"),
    "a number as time": ({"time": 5}, "time"),
    "digits as time": ({"time": "1700000000"}, "time"),
    "data in XML": ({"datacontenttype": "text/xml"}, "datacontenttype"),
    "data in something like JSON": ({"datacontenttype": "application/jsonl"}, "datacontenttype"),
    "data in no media type": ({"datacontenttype": "json"}, "datacontenttype"),
}


@pytest.mark.parametrize("name", BAD_ENVELOPES)
def test_a_bad_envelope_is_refused_by_the_name_of_its_attribute(name: str) -> None:
    changes, field = BAD_ENVELOPES[name]
    assert refused(json.dumps(envelope(**changes)).encode(), content_type=STRUCTURED).field == field


@pytest.mark.parametrize("content", [b"\xff", b""])
def test_a_binary_attribute_that_is_no_text_is_refused(content: bytes) -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_id", content), ("ce_source", b"s"), ("ce_type", TYPE.encode()))
    assert refused(encoded(), headers=headers).code in ("not-json", "string-too-short", "too-short")


def test_a_binary_header_without_value_is_refused_and_no_defect() -> None:
    headers: Any = (("ce_specversion", b"1.0"), ("ce_id", None), ("ce_source", b"s"), ("ce_type", TYPE.encode()))
    assert refused(encoded(), headers=headers).field == "id"


def test_an_event_may_be_a_day_ahead_of_its_receipt_and_no_more() -> None:
    occurred = judge(encoded()).occurred_at
    assert judge(encoded(), at=occurred - DAY).occurred_at == occurred
    assert refused(encoded(), at=occurred - DAY - 1).code == "time-in-future"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS_OF_WIRE = [
    "id",
    "source",
    "occurred_at",
    "category",
    "enterprise",
    "region",
    "industry",
    "position",
    "amount_fen",
]
FIELDS_OF_WIRE += ["tags", "text", "reporter", "demand", "kind", "historical", "product"]
FIELDS = st.sampled_from([*FIELDS_OF_WIRE, "specversion", "type", "data", "time"])
MADE = st.dictionaries(FIELDS, JSON, max_size=6).map(lambda changes: {**wire(), **changes})
TOPICS = st.sampled_from(["complaints", "violations", "consumer-rights", "elsewhere"])
TYPES = st.sampled_from(["application/json", STRUCTURED, ""])


def never_anything_else(value: bytes, topic: str, content_type: str, headers: Headers = ()) -> None:
    try:
        event, personal = admitted(decode(value, topic, content_type, headers), NOW)
    except InputError:
        return
    assert isinstance(event, Event)
    assert personal is None or isinstance(personal, Personal)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=200), TOPICS, TYPES)
@example(b'"specversion"', "complaints", "application/json")
def test_any_bytes_give_an_event_or_a_reason(value: bytes, topic: str, content_type: str) -> None:
    never_anything_else(value, topic, content_type)


@settings(max_examples=250, deadline=None)
@given(JSON | MADE, TOPICS, TYPES)
def test_any_json_gives_an_event_or_a_reason(record: Any, topic: str, content_type: str) -> None:
    never_anything_else(json.dumps(record).encode(), topic, content_type)


@settings(max_examples=120, deadline=None)
@given(
    JSON | MADE,
    st.dictionaries(
        st.sampled_from(["ce_id", "ce_source", "ce_type", "ce_time", "ce_data", "ce_"]), st.binary(max_size=20)
    ),
)
def test_any_binary_cloud_event_gives_an_event_or_a_reason(record: Any, headers: dict[str, bytes]) -> None:
    named = (("ce_specversion", b"1.0"), ("ce_type", TYPE.encode()), *headers.items())
    never_anything_else(json.dumps(record).encode(), "complaints", "application/json", named)


SECRET = {
    "name": "欧阳不可见",
    "phone": "13900001111",
    "id_card": "11010119900307423X",
    "address": "秘密路八十八号",
    "text": "此文不可外泄",
}


def reason_of(value: bytes, content_type: str) -> str:
    try:
        judge(value, content_type=content_type)
    except InputError as error:
        return f"{error.code} {error.field} {error}"
    return ""


@settings(max_examples=120, deadline=None)
@given(MADE, st.sampled_from(["nested", "wrong-type", "long", "control", "list"]))
def test_no_reason_holds_a_personal_value(record: dict[str, Any], manner: str) -> None:
    reporter: dict[str, Any] = {name: SECRET[name] for name in ("name", "phone", "id_card", "address")}
    text: Any = SECRET["text"]
    if manner == "nested":
        reporter["phone"] = {"value": SECRET["phone"]}
    elif manner == "wrong-type":
        reporter["phone"], reporter["name"] = int(SECRET["phone"]), [SECRET["name"]]
    elif manner == "long":
        reporter, text = {name: value * 500 for name, value in SECRET.items() if name != "text"}, text * 5_000
    elif manner == "control":
        reporter = {name: value + "\0" for name, value in SECRET.items() if name != "text"}
    else:
        text = [text]
    value = json.dumps({**record, "reporter": reporter, "text": text, "demand": f"回电{SECRET['phone']}"}).encode()
    for kind in ("application/json", STRUCTURED):
        reason = reason_of(value, kind)
        assert not any(secret in reason for secret in SECRET.values())


FULL = wire(
    number="N1",
    matter="M1",
    enterprise={"id": USCC, "name": "长城"},
    region="310115",
    industry="H62",
    product="酒",
    platform="p",
    channel="web",
    address="路",
    position={"latitude": 1.0, "longitude": 2.0},
    amount_fen=5,
    tags=["a"],
    text="字",
    reporter={"name": "a", "phone": "13900001111", "id_card": "1", "address": "b"},
    demand="退款",
    status="open",
)


def _hash(record: dict[str, Any], **options: Any) -> str:
    return judge(json.dumps(record).encode(), **options).content_hash


def test_the_content_hash_does_not_depend_on_order_whitespace_envelope_zone_or_receipt() -> None:
    wanted = _hash(FULL)
    assert _hash(dict(reversed(FULL.items()))) == wanted
    assert judge(json.dumps(FULL, indent=3).encode()).content_hash == wanted
    assert judge(json.dumps(envelope(data=FULL)).encode(), content_type=STRUCTURED).content_hash == wanted
    assert _hash({**FULL, "occurred_at": "2026-11-23T06:00:00Z"}) == wanted
    assert _hash({**FULL, "region": "cn:310115"}) == wanted
    assert _hash(FULL, at=NOW + 5) == wanted


CHANGES: dict[str, Any] = {
    "id": "2",
    "source": "other",
    "occurred_at": "2026-11-23T14:00:01+08:00",
    "category": "advertising",
    "number": "N2",
    "matter": "M2",
    "enterprise": {"id": USCC, "name": "其他"},
    "region": "310000",
    "industry": "H",
    "product": "茶",
    "platform": "q",
    "channel": "app",
    "address": "街",
    "position": {"latitude": 1.0, "longitude": 3.0},
    "amount_fen": 6,
    "tags": ["b"],
    "text": "句",
    "demand": "道歉",
    "status": "done",
    "nature": "report",
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_content_hash_changes_with_every_field(field: str) -> None:
    assert _hash({**FULL, field: CHANGES[field]}) != _hash(FULL)


@pytest.mark.parametrize("field", ["name", "phone", "id_card", "address"])
def test_the_content_hash_changes_with_every_personal_field(field: str) -> None:
    assert _hash({**FULL, "reporter": {**FULL["reporter"], field: "9"}}) != _hash(FULL)


@pytest.mark.parametrize(
    ("topic", "field", "value"),
    [
        ("violations", "inspection", "I2"),
        ("violations", "penalty_fen", 7),
        ("violations", "severity", 3),
        ("consumer-rights", "compensation_fen", 7),
        ("consumer-rights", "right", "safety"),
        ("consumer-rights", "outcome", "refused"),
    ],
)
def test_the_content_hash_changes_with_the_fields_of_one_kind(topic: str, field: str, value: Any) -> None:
    record = wire(result="fail") if topic == "violations" else wire()
    assert _hash({**record, field: value}, topic=topic) != _hash(record, topic=topic)


def test_personal_fields_leave_the_event_but_for_the_text_that_conditions_see() -> None:
    event, personal = admitted(decode(json.dumps(FULL).encode(), "complaints"), NOW)
    assert personal is not None
    assert personal[2:] == ("a", "13900001111", "1", "b", "字")
    assert without_personal(event).text is None
    stored = repr(without_personal(event))
    assert "13900001111" not in stored
    assert event.reporter is not None


def test_a_demand_is_stored_without_the_numbers_in_it() -> None:
    assert "13900001111" not in (judge(encoded(demand="回电13900001111")).demand or "")
