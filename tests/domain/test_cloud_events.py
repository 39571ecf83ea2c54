"""A CloudEvent in binary mode and the structured one that it becomes are the same event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.admission import decode
from jianguan.domain.cloud_events import MEDIA_TYPE, structured
from jianguan.errors import InputError
from tests.domain.support import encoded

HEADERS = (
    ("ce_specversion", b"1.0"), ("CE_ID", "编号".encode()), ("ce_source", b"s"),
    ("ce_type", b"cn.jianguan.complaint.v1"), ("ce_traceparent", b"00-1-2"), ("content-type", b"application/json"),
)  # fmt: skip


def test_attributes_and_data_are_in_one_object_and_the_data_is_as_it_was_sent() -> None:
    value = structured(b'{"category" :  "price"}', HEADERS)
    assert value is not None
    assert b'{"category" :  "price"}' in value
    assert json.loads(value) == {
        "specversion": "1.0", "id": "编号", "source": "s", "type": "cn.jianguan.complaint.v1",
        "traceparent": "00-1-2", "data": {"category": "price"},
    }  # fmt: skip


def test_an_attribute_cannot_replace_the_data() -> None:
    value = structured(b"{}", (*HEADERS, ("ce_data", b"x"), ("ce_data_base64", b"eA==")))
    assert value is not None
    assert json.loads(value)["data"] == {}
    assert "data_base64" not in json.loads(value)


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b"{} {}", b"[" * 100_000])
def test_data_that_is_no_json_has_no_structured_form(value: bytes) -> None:
    assert structured(value, HEADERS) is None


def test_headers_that_are_no_cloud_event_or_no_text_have_no_structured_form() -> None:
    assert structured(b"{}", ()) is None
    assert structured(b"{}", (("ce_id", b"1"),)) is None
    assert structured(b"{}", (*HEADERS, ("ce_subject", b"\xff"))) is None


fields = st.fixed_dictionaries(
    {},
    optional={
        "category": st.sampled_from(["price", "no slug", 7]), "product": st.text(max_size=5), "id": st.just("own"),
        "amount_fen": st.integers(-1, 10), "unknown": st.none(),
    },
)  # fmt: skip


@given(fields, st.sampled_from(["complaints", "violations"]))
def test_both_modes_are_judged_alike(changes: dict[str, Any], topic: str) -> None:
    def judged(value: bytes, content_type: str, headers: tuple[tuple[str, bytes], ...]) -> object:
        try:
            return decode(value, topic, content_type, headers)
        except InputError as error:
            return error.code, error.field, str(error)

    data = encoded(**changes)
    value = structured(data, HEADERS)
    assert value is not None
    assert judged(value, MEDIA_TYPE, ()) == judged(data, "application/json", HEADERS)
