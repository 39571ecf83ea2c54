"""A change of rules: the windows of every partition get the new ones, filled from history, while they run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container
from typing import Any, Final

from jianguan.errors import UnavailableError
from jianguan.wiring.restore import SETTLED_MS, Restorer
from rules.engine import Engine
from rules.rule import Rule
from rules.ruleset import RuleSet
from streams.correlate import Correlate
from streams.owned import Owned
from streams.topology import Pipeline

log = logging.getLogger(__name__)

RETRY_PAUSE: Final = 1.0  # seconds


class RuleChanges:
    """Gives the windows of every partition new rules, and fills those that are new from history."""

    def __init__(self, pipeline: Pipeline, correlate: Owned[Correlate], restorer: Restorer) -> None:
        self._pipeline = pipeline
        self._correlate = correlate
        self._restorer = restorer
        self._fresh: tuple[Rule, ...] = ()

    async def changed(self, ruleset: RuleSet) -> None:
        """The windows of every partition, before the conditions are swapped. UnavailableError, and nothing has changed,
        when the store does not tell what the new ones begin with."""
        filled: dict[int, Engine] = {}
        while True:
            # Beside the windows that run: they go on meanwhile, and are as they were if the store goes away in between.
            for fresh, partitions in self._lacking(ruleset, filled):
                filled.update(await asyncio.to_thread(self._restorer.filled, partitions, fresh))
            async with self._pipeline.exclusive:
                # One that was taken over meanwhile has the old rules as well.
                if any(engine.fresh(ruleset) and partition not in filled for partition, engine in self._engines()):
                    continue
                for partition, engine in self._engines():
                    self._fresh = engine.swap(ruleset)
                    if partition in filled:
                        engine.adopt(filled[partition])
                return

    async def settled(self) -> None:
        """Fold again what came while the rules were swapped: judged by the old conditions, and stored since."""
        fresh, self._fresh = self._fresh, ()
        if not fresh:
            return
        await asyncio.sleep(SETTLED_MS / 1_000)
        while True:
            try:
                async with self._pipeline.exclusive:
                    folded = await asyncio.to_thread(self._restorer.fold, dict(self._engines()), fresh)
            except UnavailableError as error:
                log.warning("new rules wait for what came while they began: %s", error)
                await asyncio.sleep(RETRY_PAUSE)
            else:
                for partition, (facts, _) in folded.items():
                    log.info("partition %d: %d new rules begin with %d facts", partition, len(fresh), facts)
                return

    def _lacking(self, ruleset: RuleSet, filled: Container[int]) -> list[tuple[tuple[Rule, ...], list[int]]]:
        """The rules that are new to partitions which are not filled yet, nearly always the same in all, and those."""
        found: dict[tuple[Any, ...], tuple[tuple[Rule, ...], list[int]]] = {}
        for partition, engine in self._engines():
            fresh = engine.fresh(ruleset)
            if fresh and partition not in filled:
                found.setdefault(tuple(rule.identity for rule in fresh), (fresh, []))[1].append(partition)
        return list(found.values())

    def _engines(self) -> list[tuple[int, Engine]]:
        """Of the partitions that are here now."""
        found = []
        for partition, state in list(self._correlate):
            assert isinstance(state.engine, Engine)
            found.append((partition, state.engine))
        return found
