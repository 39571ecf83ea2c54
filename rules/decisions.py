"""What becomes of facts, and figures about it. The engine's answers; it must not know how they are found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from jianguan.domain.alert import Alert


class Decision(NamedTuple):
    """What became of one fact."""

    alerts: tuple[Alert, ...] = ()
    late: bool = False  # too old for its window: not added
    limited: bool = False  # the key has too many facts: the oldest were dropped
    duplicate: bool = False  # it was there already
    unknown: bool = False  # no running rule has this id and version: nothing was done


NOTHING: Final = Decision()
LATE: Final = Decision(late=True)
UNKNOWN: Final = Decision(unknown=True)


@dataclass(frozen=True, slots=True)
class RuleStats:
    """Figures of one rule's state."""

    keys: int
    facts: int
    bytes: int  # roughly; sampled
    newest: int | None  # newest event time, ms
    late: int  # since the engine was made or the rule came
    limited: int
    duplicates: int
    seconds: float = 0.0  # spent on it, if a timer was given


class Cost(NamedTuple):
    """What a rule took in some time."""

    rule: str
    seconds: float
    facts: int
    budget: int  # microseconds a fact that it may take

    @property
    def is_over(self) -> bool:
        """Whether it took more than it may; a few facts say nothing."""
        return self.facts >= ENOUGH_FACTS and self.seconds * 1_000_000 > self.budget * self.facts


ENOUGH_FACTS: Final = 100
