"""Time, passed in. Nothing else in the project asks the machine what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin, never going back."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class VirtualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError("a clock needs a time with a zone")
        self._now = now.astimezone(UTC)
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, delta: timedelta) -> None:
        """Move forward by `delta`, which must not be negative."""
        if delta < timedelta(0):
            raise ValueError("a clock does not go back")
        self._now += delta
        self._elapsed += delta.total_seconds()


def to_millis(moment: datetime) -> int:
    """Milliseconds since 1970-01-01T00:00Z, rounded down. The unit of every time inside the streams."""
    return int(moment.timestamp() * 1000 // 1)


def from_millis(millis: int) -> datetime:
    """The aware UTC time of `millis`."""
    return datetime.fromtimestamp(millis / 1000, UTC)
