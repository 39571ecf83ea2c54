"""Whether the embedded engine could write its files, which it does not say itself.

When a write fails, as on a full disk, the engine (chDB 26.5) leaves the file as it is and goes on: an INSERT is
answered as if all were well, and a merge puts an empty part in the place of whole ones, which are removed eight minutes
later. But it counts the writes that failed. Opened again, it sets broken parts aside and reads the whole ones that are
still there. Knows no tables and no rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

_FAILED: Final = "SELECT value FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
_SET_ASIDE: Final = (
    "SELECT name FROM system.detached_parts WHERE startsWith(ifNull(reason, ''), 'broken') ORDER BY name"
)


def set_aside_in(folder: Path) -> list[Path]:
    """The folders of the parts that were set aside in the folder of an embedded store, whether that is open or not."""
    return sorted(folder.glob("data/store/*/*/detached/broken*"))


class EngineWrites:
    """The writes that failed since the engine was opened. `session` is any of its sessions that is not in use."""

    def __init__(self, session: Any) -> None:
        self._before = _failed(session)
        # Parts that the engine could not read when it was opened, by name.
        self.set_aside: tuple[str, ...] = tuple(_lines(session, _SET_ASIDE))

    def have_failed(self, session: Any) -> bool:
        """Whether a write has. What was inserted meanwhile may be nowhere, and no merge can be trusted."""
        return _failed(session) != self._before


def keep_whole_parts(session: Any) -> None:
    """Let the engine merge nothing more, and remove nothing that was merged: it is needed when it is opened again."""
    session.query("SYSTEM STOP MERGES", "Null")
    session.query("SYSTEM STOP CLEANUP", "Null")


def _failed(session: Any) -> int:
    return sum(map(int, _lines(session, _FAILED)))


def _lines(session: Any, sql: str) -> list[str]:
    return str(session.query(sql, "TSV")).splitlines()
