"""How long a broker may think about a fetch.

Kafka waits only while there is nothing to give. The embedded broker also gives nothing when reading took it longer than
it may wait: with a backlog of large records every fetch comes back empty, for ever. So a fetch of partitions that are
known to go on has time, and only one at their ends is short. It must not know Faust.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

# What there is to read is there at once; this is for a busy machine and records of megabytes.
PATIENCE_MS: Final = 5_000


def wait_ms(usual: int, places: Iterable[tuple[int, int | None]]) -> int:
    """How long (ms) a fetch may wait of which `places` has the (position, high watermark) of each partition; None for
    one that is not known yet."""
    behind = any(highwater is not None and position < highwater for position, highwater in places)
    return max(usual, PATIENCE_MS) if behind else usual


def give_time(fetcher: Any) -> None:
    """Let this aiokafka fetcher decide anew for each fetch; its own limit is the usual one."""
    usual: int = fetcher._fetch_max_wait_ms
    plan = fetcher._get_actions_per_node

    def planned(assignment: Any) -> Any:
        states = [assignment.state_value(tp) for tp in assignment.tps if tp not in fetcher._records]
        fetcher._fetch_max_wait_ms = wait_ms(
            usual,
            [(state.position, state.highwater) for state in states if state.has_valid_position and not state.paused],
        )
        return plan(assignment)

    fetcher._get_actions_per_node = planned
