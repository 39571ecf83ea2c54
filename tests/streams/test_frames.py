"""Rows come out of frames as they went in, no frame is too large for a broker, and what is no frame is refused."""

from __future__ import annotations

import types
import typing
from dataclasses import replace
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.columns import SCHEMAS, Columns
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.delivery import Delivery, Notice
from jianguan.domain.event import Personal
from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.ids import event_id, fact_id
from jianguan.domain.trace import TABLES, Quarantined, Records, Step
from jianguan.errors import InputError
from streams.frames import ALERTS, COMMANDS, FACTS, MAX_FRAME, NOTICES, RECORDS, Codec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values_of(each) for each in typing.get_args(annotation)])
    if origin is tuple:
        return st.lists(values_of(typing.get_args(annotation)[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(*[values_of(each) for each in typing.get_args(annotation)], max_size=3)
    return BY_TYPE[annotation]


def rows_of(row: Any) -> st.SearchStrategy[Any]:
    return st.builds(row, **{name: values_of(hint) for name, hint in typing.get_type_hints(row).items()})


ROW_OF = {name: typing.get_args(hint)[0] for name, hint in typing.get_type_hints(Records).items()}
RECORDS_MADE = st.builds(Records, **{name: st.lists(rows_of(row), max_size=2) for name, row in ROW_OF.items()})


@settings(max_examples=25, deadline=None)
@given(st.data())
@pytest.mark.parametrize(("codec", "row"), [(ALERTS, Alert), (COMMANDS, Command), (NOTICES, Notice)])
def test_rows_come_back_as_they_were(codec: Codec[Any], row: Any, data: st.DataObject) -> None:
    rows = data.draw(st.lists(rows_of(row), max_size=4))
    assert [each for frame in codec.encode(rows) for each in codec.decode(frame)] == rows


FACTS_MADE = st.builds(
    lambda fact, rule, number: fact._replace(
        rule=rule, version=1, event=(event := event_id("test", str(number))), id=fact_id(rule, 1, event)
    ),
    rows_of(Fact), st.sampled_from(["a", "b"]), st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(FACTS_MADE, max_size=8))
def test_facts_come_back_by_rule_as_they_were(facts: list[Fact]) -> None:
    back = [run for frame in FACTS.encode(runs_of(facts)) for run in FACTS.decode(frame)]
    assert [fact for run in back for fact in run.rows()] == sorted(facts, key=lambda fact: facts_order(facts, fact))
    for run in back:
        assert [run.row(place) for place in range(len(run))] == run.rows()
        places = list(range(len(run)))[::-2]
        assert run.take(places).rows() == [run.rows()[place] for place in places]


def facts_order(facts: list[Fact], fact: Fact) -> int:
    """Rules stand in the order of their first facts."""
    return [each.rule for each in facts].index(fact.rule)


def test_facts_of_one_rule_that_are_too_many_for_one_frame_travel_in_several() -> None:
    events = [event_id("test", str(number)) for number in range(3_000)]
    facts = [Fact(fact_id("r", 1, event), "r", 1, "k" * 400, 0, event, 0, *(None,) * 6, "service") for event in events]
    frames = FACTS.encode(runs_of(facts))
    assert len(frames) > 1
    assert all(len(frame) <= MAX_FRAME for frame in frames)
    assert [fact for frame in frames for run in FACTS.decode(frame) for fact in run.rows()] == facts


@settings(max_examples=30, deadline=None)
@given(RECORDS_MADE)
def test_records_come_back_as_they_were(records: Records) -> None:
    (frame,) = RECORDS.encode(records)
    assert RECORDS.decode(frame) == records


def step(number: int, size: int = 10) -> Step:
    return Step(f"st-{number}", "s", 0, 1, "x", "system", "", "", (), "d" * size)


def test_rows_that_are_too_many_for_one_frame_travel_in_several() -> None:
    command = Command("cm", "k", "t", "report", "a", "n" * 1_000, 0)
    rows = [command._replace(id=str(number)) for number in range(5_000)]
    frames = COMMANDS.encode(rows)
    assert len(frames) > 5
    assert all(len(frame) <= MAX_FRAME for frame in frames)
    assert [each for frame in frames for each in COMMANDS.decode(frame)] == rows


def rows_in(frame: bytes) -> Records:
    found = RECORDS.decode(frame)
    return found.records() if isinstance(found, Columns) else found


def ipc_of(table: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMAS[table]):
        pass
    return bytes(sink.getvalue().to_pybytes())


def test_a_large_run_travels_as_columns_and_comes_back_as_the_same_rows() -> None:
    personal = [Personal(f"ev-{number}", number, "王", None, None, None, "字") for number in range(300)]
    records = Records(personal=personal, trace=[step(number, 10_000) for number in range(600)])
    frames = RECORDS.encode(Columns.of(records))
    assert len(frames) > 1  # 6 MB of steps are more than one frame takes
    assert all(isinstance(RECORDS.decode(frame), Columns) for frame in frames)
    joined = Records()
    for frame in frames:
        joined.extend(rows_in(frame))
    assert joined == records


@settings(max_examples=60, deadline=None)
@given(RECORDS_MADE)
def test_columns_hold_what_the_rows_hold(records: Records) -> None:
    wanted = replace(records, events=[event._replace(text=None) for event in records.events])
    columns = Columns.of(records)
    assert len(columns) == len(records)
    assert columns.records() == wanted
    cut = list(columns.cut(64))
    assert Columns.joined(cut).records() == wanted


def test_a_value_that_no_column_holds_is_refused_by_name_of_its_field() -> None:
    with pytest.raises(InputError, match=r"trace\.at has a value"):
        Columns.of(Records(trace=[step(1)._replace(at=2**63)]))


def test_records_are_split_across_tables_and_keep_their_order() -> None:
    quarantined = Quarantined("q", "r", "t", 0, 0, 0, "c", "f", "m", b"x" * 200_000, "", "", "quarantined", 1)
    records = Records(
        quarantine=[quarantined._replace(id=str(number)) for number in range(9)],
        trace=[step(n, 500) for n in range(3_000)],
    )
    frames = RECORDS.encode(records)
    assert all(len(frame) <= MAX_FRAME for frame in frames)
    joined = Records()
    for frame in frames:
        joined.extend(rows_in(frame))
    assert joined == records


def test_of_records_that_are_split_the_deliveries_travel_after_all_steps() -> None:
    done = Delivery("dl-1", "n", "r", "d", "k", "a", None, "delivered", 1, 0, 0, 0, 0, 200, "", "x" * 500_000, 2)
    frames = RECORDS.encode(Records(deliveries=[done, done], trace=[step(n, 500) for n in range(1_500)]))
    parts = [rows_in(frame) for frame in frames]
    first = next(place for place, part in enumerate(parts) if part.deliveries)
    assert first > 0
    assert not any(part.trace for part in parts[first + 1 :])


def test_a_single_large_row_is_a_frame_of_its_own() -> None:
    frames = RECORDS.encode(Records(trace=[step(1), step(2, MAX_FRAME + 1), step(3)]))
    assert [row.id for frame in frames for row in rows_in(frame).trace] == ["st-1", "st-2", "st-3"]
    assert sum(len(frame) > MAX_FRAME for frame in frames) == 1


def test_the_codec_of_records_knows_every_table() -> None:
    assert set(ROW_OF) == set(TABLES)


BAD = {
    "nothing": b"",
    "no frame": None,
    "another version": b"\x03\x90",
    "columns that are none": b"\x02\x81\xa5trace\xc4\x03abc",
    "columns of another table": b"\x02" + msgspec.msgpack.encode({"trace": ipc_of("personal")}),
    "JSON": b'{"a":1}',
    "only a version": b"\x01",
    "a number": b"\x01\x05",
    "rows of another kind": b"\x01\x91\x92\xa1a\x01",
    "cut off": COMMANDS.encode([Command("a", "b", "c", "d", "e", "f", 0)])[0][:-3],
    "text that is no UTF-8": b"\x01\x81\xa5trace\x91\x9a\xa1\xff\xa1s\x00\x01\xa1x\xa1x\xa0\xa0\x90\xa0",
    "a length that lies": b"\x01\xdd\xff\xff\xff\xff",
    "deep nesting": b"\x01\x81\xa1x" + b"\x91" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_frame_is_refused(name: str) -> None:
    for codec in (FACTS, ALERTS, COMMANDS, NOTICES, RECORDS):
        with pytest.raises(InputError) as caught:
            codec.decode(BAD[name])
        assert caught.value.code == "bad-frame"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_rows_or_a_refusal(content: bytes) -> None:
    for codec in (FACTS, RECORDS):
        try:
            codec.decode(b"\x01" + content)
        except InputError as error:
            refusal = error.code
        else:
            refusal = "bad-frame"
        assert refusal == "bad-frame"
