"""What was sent lately, which the store may lack, by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from jianguan.domain.fact import Fact, FactRun, runs_of

RECENT: Final = 200_000  # facts that are kept by key


class Recent:
    """Facts by key, up to RECENT."""

    def __init__(self, partitions: Collection[int]) -> None:
        self.partitions = frozenset(partitions)  # that they are of
        self._left = RECENT
        self._facts: dict[tuple[str, int, str], list[Fact]] = {}

    def add(self, run: FactRun) -> bool:
        """Keep these too; False when that are too many."""
        self._left -= len(run)
        if self._left < 0:
            return False
        for fact in run.rows():
            self._facts.setdefault((fact.rule, fact.version, fact.key), []).append(fact)
        return True

    def of(self, keys: Mapping[tuple[str, int], Collection[str]]) -> list[FactRun]:
        """Those of some keys, which are given by the id and version of their rule."""
        return runs_of(
            [fact for rule, names in keys.items() for key in names for fact in self._facts.get((*rule, key), ())]
        )
