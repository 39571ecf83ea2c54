"""Events as they were judged when they came: what rules are tried on, explained by and warmed with, in hindsight.

A long answer, in blocks and in the order of arrival; the store decides as much of the question as it can.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from jianguan.domain.by_field import tuples_of
from jianguan.domain.event import Event
from jianguan.domain.filters import All, Filter, all_of, asks_for_absence, fields_of
from sinks.filtering import Conditions
from sinks.rows import SHAPES
from sinks.select import at
from sinks.store import BlockStore

_COLUMNS: Final = {column.name: column for column in SHAPES["events"].columns}
# Each column costs a read of all events, so only what is asked for is told, and what orders and tells events apart.
_ALWAYS: Final = frozenset({"id", "occurred_at", "received_at", "historical"})
_EMPTY: Final[dict[str, Any]] = {
    "source": "", "source_id": "", "kind": "", "category": "", "tags": (), "content_hash": ""
}  # fmt: skip
# What does not fit is put on disk: the answer may be most of the table.
_SETTINGS: Final = (
    " SETTINGS max_bytes_before_external_sort = 268435456, join_algorithm = 'grace_hash', max_bytes_in_join = 536870912"
)


class Hindsight:
    """Reads events for rules."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    def events_to_judge(
        self, wanted: Filter, fields: Collection[str], since: int, until: int, max_age: int
    ) -> Iterator[list[Event]]:
        """Events that pass the filter, or more, and whose fact would be of [since, until) ms, in order of arrival.

        A fact is of the moment that its event occurred, or was received if that was earlier. Those that came more
        than `max_age` ms after they had occurred were not judged and are left out, unless they are historical. Of an
        event's fields, `fields`, its id and its times are filled.
        """
        names = [name for name in Event._fields if name in _COLUMNS and name in _ALWAYS | set(fields)]
        with_text = "text" in fields
        columns = [_COLUMNS[name].select.format(f"events.`{name}`") for name in names]
        source, parameters = self._from(wanted, with_text, since, until, max_age)
        sql = (
            f"SELECT {', '.join([*columns, *(['words.text'] if with_text else [])])} {source}"
            f" ORDER BY events.received_at, events.occurred_at, events.id{_SETTINGS}"
        )
        make = _maker([*names, *(["text"] if with_text else [])])
        for given in self._store.columns(sql, parameters):
            yield make(given)

    def count_to_judge(self, wanted: Filter, since: int, until: int, max_age: int) -> int:
        """How many events that is, duplicates that are not merged yet among them."""
        source, parameters = self._from(wanted, "text" in fields_of(wanted), since, until, max_age)
        return int(self._store.query(f"SELECT count() {source}{_SETTINGS}", parameters)[0][0])

    def _from(
        self, wanted: Filter, with_text: bool, since: int, until: int, max_age: int
    ) -> tuple[str, dict[str, Any]]:
        """What follows the columns of a SELECT, and its parameters."""
        conditions = Conditions(others={"text": "words.text"} if with_text else {})
        join = self._words(wanted, conditions) if with_text else ""
        sql = (
            f"FROM events{join} WHERE"
            f" events.occurred_at >= {at('since')} AND events.received_at >= {at('since')}"
            f" AND (events.occurred_at < {at('until')} OR events.received_at < {at('until')})"
            " AND (events.historical OR toUnixTimestamp64Milli(events.received_at)"
            " - toUnixTimestamp64Milli(events.occurred_at) <= {max_age:Int64})"
            f" AND ({conditions.sql(wanted)})"
        )
        return sql, {**conditions.parameters, "since": since, "until": until, "max_age": max_age}

    @staticmethod
    def _words(wanted: Filter, conditions: Conditions) -> str:
        """The join with the free texts: all of them, or, if the filter needs words in them, those that hold some."""
        parts = wanted.parts if isinstance(wanted, All) else (wanted,)
        # An event without a text has no row to join with: what may hold of it is asked afterwards.
        needed = [part for part in parts if fields_of(part) == {"text"} and not asks_for_absence(part)]
        inner = Conditions(others={"text": "text"}, parameters=conditions.parameters)
        if not needed:
            return " LEFT ANY JOIN (SELECT event, text FROM personal) AS words ON words.event = events.id"
        told = inner.sql(all_of(needed))
        return (
            f" INNER ANY JOIN (SELECT event, text FROM personal WHERE {told}) AS words"  # noqa: S608
            " ON words.event = events.id"
        )


def _maker(names: list[str]) -> Callable[[Sequence[Sequence[Any]]], list[Event]]:
    """Makes events of these columns; what is not among them is missing."""
    places = {name: place for place, name in enumerate(names)}
    restore = {name: column.restore for name, column in _COLUMNS.items() if column.restore is not None}

    def make(given: Sequence[Sequence[Any]]) -> list[Event]:
        columns: list[Any] = []
        for name in Event._fields:
            if name not in places:
                columns.append(repeat(_EMPTY.get(name), len(given[0])))
            elif name in restore:
                columns.append(map(restore[name], given[places[name]]))
            else:
                columns.append(given[places[name]])
        return tuples_of(Event, zip(*columns, strict=True))

    return make
