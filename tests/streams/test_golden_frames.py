"""Frames of earlier formats, and of a later one, are read: they lie in topics while versions change around them."""

from __future__ import annotations

import subprocess
import sys
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pytest

from jianguan.columns import SCHEMAS, Columns
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import Fact
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import InputError
from streams.frames import ALERTS, COMMANDS, FACTS, NOTICES, RECORDS, Codec
from tests.repository import ROOT
from tests.streams.golden import FOLDER, frames, records, rows

FORMATS: Final = sorted(each.name for each in FOLDER.iterdir() if each.name[0].isdigit())
# The fields that came later than a format, by the kind of row: they have their defaults.
CAME_LATER: Final[dict[str, set[str]]] = {
    "2026-11-23": {"carried", "credit_points"},
    "2026-11-24": {"carried", "credit_points"},
}
# What the ids of the same facts were before 2026-11-25. Windows tell facts apart by their events.
EARLIER_IDS: Final = ("ft-ffe0b94ff22ea7e0c0751868", "ft-e0cae9e887fd66a5e715f19e", "ft-26e61d5f2e23571c5516f50b")


def golden(form: str, name: str) -> bytes:
    path = FOLDER / form / f"{name}.frame"
    if not path.exists():
        pytest.skip(f"{form} had no {name}")
    return path.read_bytes()


def without_later(form: str, made: list[Any]) -> list[Any]:
    """Rows as that format could hold them."""
    later = CAME_LATER.get(form, set())
    return [
        row._replace(**{name: value for name, value in row._field_defaults.items() if name in later}) for row in made
    ]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("name", "codec", "row"),
    [("alerts", ALERTS, Alert), ("commands", COMMANDS, Command), ("notices", NOTICES, Notice)],
)
def test_rows_of_every_format_are_read(form: str, name: str, codec: Codec[Any], row: Any) -> None:
    assert codec.decode(golden(form, name)) == without_later(form, rows(row))


@pytest.mark.parametrize("form", FORMATS)
def test_facts_of_every_format_are_read_by_rule(form: str) -> None:
    found = [fact for run in FACTS.decode(golden(form, "facts")) for fact in run.rows()]
    assert found == without_later(form, rows(Fact))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", ["records", "columns"])
def test_records_of_every_format_are_read(form: str, name: str) -> None:
    found = RECORDS.decode(golden(form, name))
    wanted = Records(**{table: without_later(form, getattr(records(), table)) for table in TABLES})
    if form < "2026-11-25":
        wanted.facts = [fact._replace(id=name) for fact, name in zip(wanted.facts, EARLIER_IDS, strict=True)]
    if isinstance(found, Columns):
        assert found.records() == replace(wanted, quarantine=[])
    else:
        assert found == wanted


def test_the_present_format_is_among_them() -> None:
    """When this fails, the format has changed: see tests/streams/golden."""
    made = frames()
    columns = RECORDS.decode(made.pop("columns"))
    assert isinstance(columns, Columns)
    for name, frame in made.items():
        assert golden(FORMATS[-1], name) == frame, name
    tables = msgspec.msgpack.decode(golden(FORMATS[-1], "columns")[1:])
    assert {name: pa.ipc.open_stream(data).schema for name, data in tables.items()} == {
        name: SCHEMAS[name] for name in columns.tables
    }


def test_the_frames_of_a_new_format_are_written_as_the_guide_says(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.streams.golden", str(tmp_path / "new")], cwd=ROOT, check=True)
    assert {path.stem: path.read_bytes() for path in (tmp_path / "new").iterdir()} == frames()


def longer(row: Any) -> Any:
    """The kind of row of a later version, which has added two fields."""
    hints = [*typing.get_type_hints(row).items(), ("later", int), ("latest", dict[str, list[str]])]
    return NamedTuple(row.__name__, hints)


def added(made: list[Any]) -> list[Any]:
    later = longer(type(made[0]))
    return [later(*row, 7, {"a": ["b"]}) for row in made]


@pytest.mark.parametrize(("codec", "row"), [(ALERTS, Alert), (COMMANDS, Command), (NOTICES, Notice)])
def test_fields_that_a_later_version_added_are_left_out_of_rows(codec: Codec[Any], row: Any) -> None:
    (frame,) = codec.encode(added(rows(row)))
    assert codec.decode(frame) == rows(row)


def test_tables_and_fields_that_a_later_version_added_are_left_out_of_records() -> None:
    tables = {table: added(getattr(records(), table)) for table in TABLES}
    frame = b"\x01" + msgspec.msgpack.encode({**tables, "seals": [["a", 1]]})
    assert RECORDS.decode(frame) == records()


def ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def columns_frame(tables: dict[str, pa.Table]) -> bytes:
    return b"\x02" + msgspec.msgpack.encode({name: ipc(table) for name, table in tables.items()})


def test_columns_and_tables_that_a_later_version_added_are_left_out() -> None:
    tables = dict(Columns.of(records()).tables)
    later = {name: table.append_column("later", pa.array([1] * len(table))) for name, table in tables.items()}
    found = RECORDS.decode(columns_frame({**later, "seals": tables["trace"]}))
    assert isinstance(found, Columns)
    assert found.records() == records()
    assert Columns.joined([found, Columns.of(records())]).count("alerts") == 2 * len(records().alerts)


def test_a_column_without_a_default_may_not_be_missing_or_of_another_type() -> None:
    steps = Columns.of(records()).tables["trace"]
    for changed in (
        steps.drop_columns(["actor"]),
        steps.set_column(2, "at", steps.column("at").cast(pa.float64())),
        steps.append_column("at", steps.column("at")),
    ):
        with pytest.raises(InputError, match="other columns than those of trace"):
            RECORDS.decode(columns_frame({"trace": changed}))
