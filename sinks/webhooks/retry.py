"""Decides when a webhook is tried again. Pure: no clock, no socket, no state; it must not know receivers.

By Standard Webhooks 1.0: only 2xx is success; 410 ends the subscription; everything else, 4xx and 3xx included,
is a failure that is tried again over several days, with back-off and jitter; `Retry-After` is respected.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

GONE_STATUS: Final = 410  # by which a receiver says that it wants no more


class OutcomeKind(StrEnum):
    """What one attempt came to."""

    DELIVERED = "delivered"
    RETRY = "retry"  # no answer, or any answer but 2xx and 410
    GONE = "gone"  # the receiver takes no more: it said 410, or it is disabled in the configuration
    REFUSED = "refused"  # by us: the address is not one that we may connect to; nothing was sent


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt's result. `detail` is a short sentence of ours: no text of the receiver's, no secret."""

    kind: OutcomeKind
    status: int = 0  # the HTTP status; 0: no answer
    detail: str = ""
    retry_after: timedelta | None = None  # as the receiver asked, not yet bounded
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`delays[k]` follows the failed attempt k+1, so there are `len(delays) + 1` attempts in all.

    The default spans 72 hours and 12 minutes. `jitter` is the largest relative change of a delay, 0 to 1 (not 1
    itself). A `Retry-After` longer than `retry_after_max` is cut to it; one shorter than the delay changes nothing.
    """

    delays: tuple[timedelta, ...] = (
        timedelta(seconds=5),
        timedelta(seconds=30),
        timedelta(minutes=2),
        timedelta(minutes=10),
        timedelta(hours=1),
        timedelta(hours=3),
        timedelta(hours=8),
        timedelta(hours=12),
        timedelta(hours=24),
        timedelta(hours=24),
    )
    jitter: float = 0.2
    retry_after_max: timedelta = timedelta(hours=6)

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 1:
            raise ValueError("jitter is at least 0 and less than 1")
        if any(delay <= timedelta(0) for delay in self.delays) or self.retry_after_max < timedelta(0):
            raise ValueError("a delay is positive")

    @property
    def attempts(self) -> int:
        """How often a delivery is tried before it is given up."""
        return len(self.delays) + 1


def kind_of_status(status: int) -> OutcomeKind:
    """What an HTTP status means for a delivery."""
    if 200 <= status <= 299:
        return OutcomeKind.DELIVERED
    return OutcomeKind.GONE if status == GONE_STATUS else OutcomeKind.RETRY


_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def parse_retry_after(value: str, now: datetime) -> timedelta | None:
    """RFC 9110, 10.2.3: seconds, or an HTTP date. Not negative; None when it cannot be read."""
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    if len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta(0))


def bounded_retry_after(outcome: Outcome, policy: RetryPolicy) -> timedelta:
    """How long the receiver may make us wait; zero when it asked for nothing."""
    return min(max(outcome.retry_after or timedelta(0), timedelta(0)), policy.retry_after_max)


def next_attempt(
    attempt: int, outcome: Outcome, now: datetime, rng: random.Random, policy: RetryPolicy
) -> datetime | None:
    """When to try again after `attempt` (from 1) ended in `outcome` at `now`; None: not by itself.

    None means delivered, or the receiver is gone, or the attempts are used up (a dead letter). A refused address
    is tried again like a failure: names are repaired, and a wrong answer of a resolver is no reason to give up.
    """
    if attempt < 1:
        raise ValueError("attempts count from 1")
    if outcome.kind in (OutcomeKind.DELIVERED, OutcomeKind.GONE) or attempt > len(policy.delays):
        return None
    spread = 1 + policy.jitter * rng.uniform(-1, 1)
    delay = policy.delays[attempt - 1] * spread
    return now + max(delay, bounded_retry_after(outcome, policy))
