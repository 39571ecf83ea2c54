"""How long a broker may think about a fetch.

Kafka waits only while there is nothing to give. The embedded broker also gives nothing when reading took it longer than
it may wait: with a backlog of large records every fetch comes back empty, for ever. So a fetch of partitions that are
known to go on has time, and only one at their ends is short: what comes in while it waits is given only after it. When
nothing has come for a while fetches are fewer, as each costs broker and worker a millisecond. It must not know Faust.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

# What there is to read is there at once; this is for a busy machine and records of megabytes.
PATIENCE_MS: Final = 5_000
# The first record after a quiet time comes so much later at most, and nobody can tell.
QUIET_AFTER: Final = 2.0  # seconds
QUIET_MS: Final = 50


def wait_ms(usual: int, places: Iterable[tuple[int, int | None]], quiet: bool = False) -> int:
    """How long (ms) a fetch may wait of which `places` has the (position, high watermark) of each partition; None for
    one that is not known yet. `quiet`: nothing has come for a while."""
    behind = any(highwater is not None and position < highwater for position, highwater in places)
    return max(usual, PATIENCE_MS if behind else QUIET_MS if quiet else 0)


class Quiet:
    """Whether nothing has come for a while."""

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._positions: Mapping[Any, int] = {}
        self._since = wall()

    def after(self, positions: Mapping[Any, int]) -> bool:
        """Whether the positions, by partition, have been the same for QUIET_AFTER."""
        if positions != self._positions:
            self._positions, self._since = positions, self._wall()
        return self._wall() - self._since >= QUIET_AFTER


def give_time(fetcher: Any, quiet: Quiet | None = None) -> None:
    """Let this aiokafka fetcher decide anew for each fetch; its own limit is the usual one."""
    usual: int = fetcher._fetch_max_wait_ms
    plan = fetcher._get_actions_per_node
    calm = quiet or Quiet()

    def planned(assignment: Any) -> Any:
        waiting = {tp: assignment.state_value(tp) for tp in assignment.tps if tp not in fetcher._records}
        asked = {tp: state for tp, state in waiting.items() if state.has_valid_position and not state.paused}
        fetcher._fetch_max_wait_ms = wait_ms(
            usual,
            [(state.position, state.highwater) for state in asked.values()],
            calm.after({tp: state.position for tp, state in asked.items()}),
        )
        return plan(assignment)

    fetcher._get_actions_per_node = planned
