"""Uploads are split into records that keep their own bytes."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards import framing
from dashboards.framing import CLOUD_EVENT, Frames, Mode, topic_of

MOST = 1_000
LARGEST = 1024 * 1024


def split(body: bytes, mode: Mode, most: int = MOST, largest: int = LARGEST) -> Frames:
    return turns_of(body, mode, most, largest)[0]


def turns_of(body: bytes, mode: Mode, most: int = MOST, largest: int = LARGEST) -> tuple[Frames, int]:
    """The records, and how often others had a turn meanwhile."""
    work = framing.split(body, mode, most, largest)
    turns = 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            frames: Frames = end.value
            return frames, turns
        turns += 1


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


@given(st.lists(st.sampled_from([b"", b" ", b"\t", b"\r", b"a", b"b c", b"\x0b", b"{}"]), max_size=12), st.data())
def test_lines_are_those_between_line_ends_without_blanks(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(part + data.draw(st.sampled_from([b"", b"\n"])) for part in parts)
    wanted = [line for line in (each.strip(b" \t\r\n") for each in body.split(b"\n")) if line]
    assert split(body, "lines").rows == wanted


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every upload were a large one."""
    monkeypatch.setattr(framing, "_AT_ONCE", 0)
    monkeypatch.setattr(framing, "_SLICE_BYTES", 7)
    monkeypatch.setattr(framing, "_SLICE_PIECES", 3)


SLICED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b",", b'"', b"\\", b" ", b"\n", b"\t", b"a", b"1234567", b'"a, ]"', b"{}"]
)


@SLICED
@given(st.lists(values, max_size=6), st.sampled_from([None, 2, 9]), st.binary(max_size=0) | st.just(b"\n" * 20))
@pytest.mark.usefixtures("small_slices")
def test_a_large_array_gives_the_elements_that_json_gives(
    rows: list[object], indent: int | None, around: bytes
) -> None:
    frames = split(around + json.dumps(rows, indent=indent).encode() + around, "json")
    assert ([json.loads(row) for row in frames.rows], frames.fault) == (rows, "")


@SLICED
@given(st.lists(PIECES, max_size=30).map(b"".join), st.sampled_from(["json", "lines", "cloudevents"]))
@pytest.mark.usefixtures("small_slices")
def test_whatever_a_text_is_slices_change_nothing(body: bytes, mode: Mode) -> None:
    sliced = split(body, mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framing, "_AT_ONCE", LARGEST)
        patch.setattr(framing, "_SLICE_BYTES", LARGEST)
        assert split(body, mode) == sliced


MEGABYTE = 1_000_000
TEXT_ROW = b'{"id":"1","text":"' + b"x" * 3_000 + b'"},'


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        (b"[" + TEXT_ROW * 1_000 + b"1]", "json"),
        (b"[" + TEXT_ROW * 1_000 + b"x]", "json"),
        (b"[" * 3 * MEGABYTE, "json"),
        (b"[" + b"[]" * MEGABYTE + b"]", "json"),
        (b"[" + b'""' * MEGABYTE + b"]", "json"),
        (b"[" + b"1" * 3 * MEGABYTE + b"]", "json"),
        (b"[" + b"[1,2,3]," * 300_000 + b"x]", "json"),
        (b"[" + b" " * 3 * MEGABYTE + b"]", "json"),
        (b" " * 3 * MEGABYTE, "json"),
        (b"1" + b" " * 3 * MEGABYTE, "json"),
        (b"\n" * 3 * MEGABYTE, "lines"),
        (b"ab\n" * MEGABYTE, "lines"),
        (b"x" * 2_999 + b"\n" * 1_000, "lines"),
    ],
)
def test_others_have_turns_while_a_large_upload_is_split_whatever_it_holds(body: bytes, mode: Mode) -> None:
    """Of each part of 256 KB at least."""
    _, turns = turns_of(body, mode, MEGABYTE, len(body))
    assert turns >= len(body) // 2**18 - 1


@pytest.mark.parametrize(
    ("body", "mode", "rows"),
    [
        (b'[1,"xx"', "json", [b'[1,"xx"']),
        (b'[1,"' + b"x" * 30, "json", [b"1", b'"' + b"x" * 19]),
        (b'[1,"' + b"x" * 30 + b'",2]', "json", [b"1", b'"' + b"x" * 19]),
        (b"[1," + b"[" * 30, "json", [b"1", b"[" * 20]),
        (b"[1," + b"2" * 30 + b"]", "json", [b"1", b"2" * 20]),
        (b"1\n" + b"2" * 30 + b"\n3", "lines", [b"1", b"2" * 20]),
        (b"1\n" + b"2" * 10 + b" " * 9 + b"\n3", "lines", [b"1", b"2" * 10, b"3"]),
    ],
)
@pytest.mark.usefixtures("small_slices")
def test_a_row_that_is_far_too_large_is_cut_and_the_last(body: bytes, mode: Mode, rows: list[bytes]) -> None:
    assert split(body, mode, largest=10).rows == rows


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        (b"ab\n" * 1_000_000, "lines"),
        (b"[" + b"1," * 1_000_000 + b"1]", "json"),
        (b"[" + b"{x}," * 1_000_000 + b"1]", "json"),
        (b"[" + b"1," * 60_000 + b"1]", "json"),
    ],
    ids=["lines", "array", "bad rows", "array of fewer"],
)
def test_rows_above_the_most_are_not_made(body: bytes, mode: Mode) -> None:
    tracemalloc.start()
    try:
        frames = split(body, mode)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(frames.rows), frames.fault) == (MOST + 1, "")
    assert taken < 2 * len(body) + 10_000_000


def test_as_many_rows_as_are_taken_may_be_of_any_size() -> None:
    rows: list[object] = [list(range(200))] * MOST
    frames = split(json.dumps(rows).encode(), "json")
    assert [json.loads(row) for row in frames.rows] == rows


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
        (b'{"type": "cn.jianguan.violation.v1", "kind": "complaint"}', CLOUD_EVENT, "", "violations"),
        (b'{"type": "cn.jianguan.violation.v1", "kind": "complaint"}', "application/json", "", "complaints"),
        (b'{"specversion": "1.0", "type": "cn.jianguan.violation.v1"}', "application/json", "", "violations"),
        (b"[" * 9000, "application/json", "", "complaints"),
    ],
)
def test_the_topic_is_read_from_the_row_if_it_says_one(row: bytes, content_type: str, kind: str, topic: str) -> None:
    assert topic_of(row, content_type, kind) == topic
