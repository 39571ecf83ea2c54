"""Token buckets by client, with debt: what is already read is charged, and the client waits before the next. Pure."""

from __future__ import annotations

from collections import OrderedDict


class RateLimiter:
    """At most `rate` units a second in the long run and `burst` at once, for each of at most `clients` clients."""

    def __init__(self, rate: float, burst: float, clients: int) -> None:
        self._rate = rate
        self._burst = burst
        self._clients = clients
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (level, when in s)

    def wait(self, client: str, now: float) -> float:
        """Seconds until `client` may send again; 0 when it may now. `now` is monotonic, in seconds."""
        level = self._level(client, now)
        return 0.0 if level > 0 else (1.0 - level) / self._rate

    def charge(self, client: str, units: float, now: float) -> None:
        """Take `units` from the client's bucket; it may go below zero."""
        self._levels[client] = (self._level(client, now) - units, now)
        self._levels.move_to_end(client)
        while len(self._levels) > self._clients:
            self._levels.popitem(last=False)

    def _level(self, client: str, now: float) -> float:
        level, then = self._levels.get(client, (self._burst, now))
        return min(self._burst, level + (now - then) * self._rate)
