"""What both stores share: the port as the archive needs it, the errors, the database's name.

Knows nothing of how either store is reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from jianguan.errors import ConfigurationError, JianguanError, UnavailableError
from jianguan.ports import Store

DATABASE: Final = "jianguan"
BLOCK_ROWS: Final = 65_536
# The planner of 25.9 and later makes a SEMI JOIN of a LEFT ANY JOIN when it sees that no row without a partner can
# pass, and the executor then refuses what the planner made ("Wrong JOIN combination"). Older servers pass over a
# setting that they do not know.
SESSION_SETTINGS: Final = {"query_plan_convert_any_join_to_semi_or_anti_join": 0}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CODE = re.compile(r"Code: (\d+)")
# Codes of ClickHouse that say "not now" rather than "not like this": socket and network errors, timeouts, memory, disk
# space, too many parts, too many queries, a table that is read-only or shutting down, a query that was cancelled, as
# all are when a server stops.
_PASSING: Final = frozenset(
    {3, 159, 164, 198, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 319, 394, 425, 439, 999}
)
# The user is unknown, its password wrong or missing, or it may not do this. Whoever looks after the store changes that,
# perhaps before the password's file here is changed: until then records wait as they do for a store that is away.
_NOT_ALLOWED: Final = frozenset({192, 193, 194, 497, 516})


class NotAllowedError(UnavailableError):
    """The store does not let its user in, or do what is asked. At a start it is a setting that is wrong."""


class StoreError(JianguanError):
    """The store refused a statement: the statement, the data or the schema is wrong, and trying again will not help."""


class BlockStore(Store, Protocol):
    """A store that can also hand out a long result in blocks, and change its schema."""

    def blocks(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a SELECT, a block at a time, without holding them all."""

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[Sequence[Any]]]:
        """The same by column, for whoever works field by field. A block has at least one row."""

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing."""


def error_of(message: str, code: int | None = None) -> JianguanError:
    """The error that a message of ClickHouse stands for."""
    if code is None:
        found = _CODE.search(message)
        code = int(found[1]) if found else 0
    text = message.strip().split("\n", 1)[0][:500]
    if code in _NOT_ALLOWED:
        return NotAllowedError(
            f"the store refuses its user: {text}; look at the user in JIANGUAN_STORE, at JIANGUAN_STORE_PASSWORD_FILE"
            " and at what is granted to it"
        )
    passing = code in _PASSING or "No space left on device" in message
    return UnavailableError(f"the store cannot now: {text}") if passing else StoreError(f"the store: {text}")


def checked_name(name: str) -> str:
    """`name` if it may stand in SQL as a database name, else ConfigurationError."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} cannot name a database: use letters, digits and underscores")
    return name
