"""Filters of events as SQL. Every value travels as a parameter. Knows columns, not what a filter is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from jianguan.domain.filters import All, Filter, Some, Test
from sinks.rows import SHAPES

_COLUMNS: Final = {column.name: column for column in SHAPES["events"].columns}
_MOST_NEEDLES: Final = 255  # of one multiSearchAny


@dataclass(slots=True)
class Conditions:
    """Writes filters as conditions, and gathers their parameters. A field that `events` lacks passes everything, unless
    it is one of `others`, by the expression given for it."""

    others: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    def sql(self, filter_: Filter) -> str:
        """True of every event that passes the filter; neither true nor false where a field is missing."""
        if isinstance(filter_, All):
            return " AND ".join(f"({self.sql(part)})" for part in filter_.parts) or "true"
        if isinstance(filter_, Some):
            return " OR ".join(f"({self.sql(part)})" for part in filter_.parts) or "false"
        return self._test(filter_)

    def knows(self, name: str) -> bool:
        """Whether a field is there to be tested."""
        return name in _COLUMNS or name in self.others

    def _test(self, test: Test) -> str:
        if not self.knows(test.field):
            return "true"
        value = self.others.get(test.field) or f"events.`{test.field}`"
        if test.operator == "present":
            return f"isNotNull({value})"
        if test.operator == "missing":
            return f"isNull({value})"
        told = self._told(value, test)
        return told if test.wanted else f"isNotNull({value}) AND NOT ({told})"

    def _told(self, value: str, test: Test) -> str:
        if test.operator == "in":
            return f"{value} IN {self._list(test.values)}" if test.values else "false"
        if test.operator == "has":
            return f"hasAny({value}, {self._list(test.values)})"
        if test.operator == "holds":
            return self._holds(value, test.values)
        if test.operator in ("begins", "ends"):
            function = "startsWith" if test.operator == "begins" else "endsWith"
            return " OR ".join(f"{function}({value}, {self._one(each)})" for each in test.values) or "false"
        column = _COLUMNS.get(test.field)
        moment = column is not None and column.type.startswith("DateTime64")
        constant = self._moment(test.values[0]) if moment else self._one(test.values[0])
        return f"{value} {test.operator} {constant}"

    def _holds(self, value: str, words: tuple[Any, ...]) -> str:
        if "" in words:
            return f"isNotNull({value})"
        # The search for many words takes no Nullable; what is missing was an empty text then, which holds no word.
        text = f"toString(ifNull({value}, ''))"
        groups = [words[start : start + _MOST_NEEDLES] for start in range(0, len(words), _MOST_NEEDLES)]
        return " OR ".join(f"multiSearchAny({text}, {self._list(each)})" for each in groups) or "false"

    def _one(self, value: Any) -> str:
        kind = "Bool" if isinstance(value, bool) else "Int64" if isinstance(value, int) else "Float64"
        return self._parameter(value, "String" if isinstance(value, str) else kind)

    def _list(self, values: tuple[Any, ...]) -> str:
        return self._parameter(list(values), "Array(String)" if isinstance(values[0], str) else "Array(Int64)")

    def _moment(self, value: Any) -> str:
        return f"fromUnixTimestamp64Milli({self._parameter(value, 'Int64')}, 'UTC')"

    def _parameter(self, value: Any, kind: str) -> str:
        name = f"filter_{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"
