"""Frames of every format that internal topics have had, a folder for each, named by the day that it came up.

A frame may lie in a topic while the versions around it change: whatever was written must stay readable. When the fields
of a row or the codecs change, write the frames of the new format next to the old ones, which never change:

    python -m tests.streams.golden 2027-01-31
"""

from __future__ import annotations

import types
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from jianguan.columns import ROWS, Columns
from jianguan.domain.alert import Alert
from jianguan.domain.case import Command
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.ids import event_id, fact_id
from jianguan.domain.trace import Records
from streams.frames import ALERTS, COMMANDS, FACTS, NOTICES, RECORDS

FOLDER: Final = Path(__file__).parent
COUNT: Final = 3  # rows of each kind


def rows(row: Any) -> list[Any]:
    """Rows of one kind that have a value in every field."""
    return [_row(row, number) for number in range(1, COUNT + 1)]


def _row(row: Any, number: int) -> Any:
    made = row(**{name: _value(name, hint, number) for name, hint in typing.get_type_hints(row).items()})
    if row is Fact:
        event = event_id("golden", str(number))
        made = made._replace(rule="rule", version=1, event=event, id=fact_id("rule", 1, event))
    return made


def _value(name: str, hint: Any, number: int) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    if typing.get_origin(hint) is tuple:
        return (f"{name} {number}", "市场监管")
    if typing.get_origin(hint) is dict:
        return {name: number + 0.5}
    values = {
        str: f"{name} {number} 字", int: 2**40 + number, float: number + 0.25, bool: number % 2 == 0,
        bytes: b"\xff\x00" * number,
    }  # fmt: skip
    return values[hint]


def records() -> Records:
    """Rows of every table; the free text of events travels apart from them."""
    made = {table: rows(row) for table, row in ROWS.items()}
    return Records(**{**made, "events": [event._replace(text=None) for event in made["events"]]})


def frames() -> dict[str, bytes]:
    """A frame of each codec by name, as this version writes it."""
    made = {
        "facts": FACTS.encode(runs_of(rows(Fact))),
        "alerts": ALERTS.encode(rows(Alert)),
        "commands": COMMANDS.encode(rows(Command)),
        "notices": NOTICES.encode(rows(Notice)),
        "records": RECORDS.encode(records()),
        "columns": RECORDS.encode(Columns.of(replace(records(), quarantine=[]))),
    }
    return {name: frame for name, (frame,) in made.items()}
