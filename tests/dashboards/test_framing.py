"""Uploads are split into records that keep their own bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.framing import CLOUD_EVENT, split, topic_of

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab,]}{["\\'), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from([None, 2]))
def test_an_array_gives_the_elements_that_json_gives(rows: list[object], indent: int | None) -> None:
    frames = split(json.dumps(rows, indent=indent).encode(), "json")
    assert [json.loads(row) for row in frames.rows] == rows


@given(st.lists(values, min_size=1, max_size=6))
def test_one_row_that_is_no_json_leaves_the_others_whole(rows: list[object]) -> None:
    texts = [json.dumps(row) for row in rows]
    frames = split(f"[{','.join([*texts, '{nonsense: 1}', *texts])}]".encode(), "json")
    assert frames.fault == ""
    assert frames.rows == [text.encode() for text in [*texts, "{nonsense: 1}", *texts]]


@pytest.mark.parametrize("body", [b'[{"a": 1}', b'[{"a": "}]', b"[1, 2]]", b"[1}", b'[{"a": 1}] trailing', b"[1] [2]"])
def test_an_array_whose_rows_cannot_be_told_apart_is_one_record(body: bytes) -> None:
    frames = split(body, "json")
    assert frames.rows == [body]
    assert frames.fault


def test_a_row_that_is_nested_deeply_is_one_row_among_others() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert split(b'[{"a": 1},' + deep + b',{"b": 2}]', "json").rows == [b'{"a": 1}', deep, b'{"b": 2}']


def test_lines_may_end_either_way_and_blank_ones_are_no_records() -> None:
    assert split(b'{"a": 1}\r\n\n  \n{"b": 2}', "lines").rows == [b'{"a": 1}', b'{"b": 2}']


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]", b"[ ]"])
def test_nothing_gives_no_records(body: bytes) -> None:
    assert split(body, "json").rows == []


@pytest.mark.parametrize(
    ("row", "content_type", "kind", "topic"),
    [
        (b'{"kind": "violation"}', "application/json", "", "violations"),
        (b'{"kind": "consumer-rights"}', "application/json", "complaint", "consumer-rights"),
        (b"{}", "application/json", "violation", "violations"),
        (b"{}", "application/json", "", "complaints"),
        (b"42", "application/json", "", "complaints"),
        (b"\xff", "application/json", "", "complaints"),
        (b'{"kind": ["violation"]}', "application/json", "", "complaints"),
        (b'{"type": "cn.jianguan.violation.v1"}', CLOUD_EVENT, "", "violations"),
        (b'{"specversion": "1.0", "type": "cn.jianguan.violation.v1"}', "application/json", "", "violations"),
        (b"[" * 9000, "application/json", "", "complaints"),
    ],
)
def test_the_topic_is_read_from_the_row_if_it_says_one(row: bytes, content_type: str, kind: str, topic: str) -> None:
    assert topic_of(row, content_type, kind) == topic
