"""Which events were accepted before: what tells a duplicate from a conflict from the same record read again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Sight = Literal["new", "again", "duplicate", "conflict"]


class SeenEvents:
    """Remembers the last `capacity` accepted events or more, at most twice as many.

    Two generations: when the young one is full it becomes the old one, and the old one is forgotten. An event that is
    older than that and comes again counts as accepted once more; it has the same id, so nothing is stored twice.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[str, tuple[str, str]] = {}
        self._old: dict[str, tuple[str, str]] = {}

    def restore(self, known: Iterable[tuple[str, str, str]]) -> None:
        """Take over (event id, content hash, receipt) from the store, oldest first."""
        for event, content, receipt in known:
            if event not in self._young and event not in self._old:
                self._remember(event, content, receipt)

    def see(self, event: str, content: str, receipt: str) -> Sight:
        """Judge one event and remember it if it is new.

        `again`: the very record that was accepted first, read once more after a restart: it has to be worked again.
        """
        known = self._young.get(event) or self._old.get(event)
        if known is None:
            self._remember(event, content, receipt)
            return "new"
        if known[1] == receipt:
            return "again"
        return "duplicate" if known[0] == content else "conflict"

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _remember(self, event: str, content: str, receipt: str) -> None:
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[event] = (content, receipt)
