"""Whether a source topic is poisoned: nearly everything in it is invalid. Pure."""

from __future__ import annotations

from typing import Final

POISON_SAMPLE: Final = 2_000
POISON_RATIO: Final = 0.95


class PoisonGuard:
    """Tells when nearly everything in a topic is invalid: then the stream stops and says so (DESIGN D9).

    Only records that no door of ours has judged count: who posts rubbish to the API is told at once, and cannot stop
    the stream for others.
    """

    def __init__(self, sample: int = POISON_SAMPLE, ratio: float = POISON_RATIO) -> None:
        self._sample = sample
        self._ratio = ratio
        self._counts: dict[str, tuple[int, int]] = {}

    def add(self, topic: str, records: int, bad: int) -> bool:
        """Count a run; whether the topic is poisoned."""
        seen, wrong = self._counts.get(topic, (0, 0))
        seen, wrong = seen + records, wrong + bad
        if seen >= self._sample:
            poisoned = wrong / seen >= self._ratio
            seen, wrong = seen // 2, wrong // 2
        else:
            poisoned = False
        self._counts[topic] = (seen, wrong)
        return poisoned
