"""Which events were accepted before: what tells a duplicate from a conflict from the same record read again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Literal

Sight = Literal["new", "again", "duplicate", "conflict"]

_AT_ONCE: Final = 1_000  # events


class SeenEvents:
    """Remembers the last `capacity` accepted events or more, at most twice as many and two runs.

    Two generations: when the young one is full it becomes the old one, and the old one is forgotten. An event that is
    older than that and comes again counts as accepted once more; it has the same id, so nothing is stored twice.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._young: dict[str, tuple[str, str]] = {}
        self._old: dict[str, tuple[str, str]] = {}

    def restore(self, known: Iterable[tuple[str, str, str]]) -> None:
        """Take over (event id, content hash, receipt) from the store, oldest first."""
        rest = iter(known)
        while part := list(islice(rest, _AT_ONCE)):
            events, contents, receipts = zip(*part, strict=True)
            if len(set(events)) == len(events) and self.all_new(events, contents, receipts):
                continue
            for event, content, receipt in part:
                if event not in self._young and event not in self._old:
                    self._remember(event, content, receipt)

    def see(self, event: str, content: str, receipt: str) -> Sight:
        """Judge one event and remember it if it is new.

        `again`: the very record that was accepted first, read once more after a restart: it has to be worked again.
        Another content is a conflict also under that receipt: a sender that names its receipts may have used one twice.
        """
        known = self._young.get(event) or self._old.get(event)
        if known is None:
            self._remember(event, content, receipt)
            return "new"
        if known[0] != content:
            return "conflict"
        return "again" if known[1] == receipt else "duplicate"

    def all_new(self, events: Sequence[str], contents: Sequence[str], receipts: Sequence[str]) -> bool:
        """Whether none of `events`, which are different ones, is remembered; if so all are from now on."""
        if not (self._young.keys().isdisjoint(events) and self._old.keys().isdisjoint(events)):
            return False
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young.update(zip(events, zip(contents, receipts, strict=True), strict=True))
        return True

    def forget(self, event: str, receipt: str) -> None:
        """Take back what `see` remembered of the record with `receipt`: it was not accepted after all."""
        for generation in (self._young, self._old):
            if (known := generation.get(event)) is not None and known[1] == receipt:
                del generation[event]

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _remember(self, event: str, content: str, receipt: str) -> None:
        if len(self._young) >= self._capacity:
            self._old, self._young = self._young, {}
        self._young[event] = (content, receipt)
