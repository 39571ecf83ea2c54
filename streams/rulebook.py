"""The rules that run now, and their replacement while everything goes on.

A rule folder is looked at again and again; when something in it has changed, all of it is loaded anew. If that fails
the old set goes on running and the error is shown: nobody loses alerts because of a typing error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact
from jianguan.errors import JianguanError
from jianguan.metrics import Metrics
from rules.alert_facts import AlertMatcher
from rules.facts import Matcher
from rules.reference import Reference
from rules.ruleset import RuleSet, rule_files

log = logging.getLogger(__name__)

Fingerprint = tuple[tuple[str, int, int], ...]


class RuleBook:
    """Holds one rule set and its matcher."""

    def __init__(self, folders: Sequence[Path], reference: Reference, clock: Clock, metrics: Metrics) -> None:
        self._folders = tuple(folders)
        self._reference = reference
        self._clock = clock
        self._metrics = metrics
        self._seen: Fingerprint = ()
        self._ruleset: RuleSet | None = None
        self._matcher: Matcher | None = None
        self._alert_matcher: AlertMatcher | None = None
        self.error = ""  # why the last reload failed; empty when it did not
        self.loaded_at = 0

    @property
    def ruleset(self) -> RuleSet:
        """The rules that run. Only after `load`."""
        assert self._ruleset is not None
        return self._ruleset

    def matcher(self) -> Matcher:
        """Their conditions. Only after `load`."""
        assert self._matcher is not None
        return self._matcher

    def follow(self, alert: Alert) -> list[Fact]:
        """The facts that an alert is for rules on alerts. Only after `load`."""
        assert self._alert_matcher is not None
        return self._alert_matcher.facts(alert)

    def load(self) -> None:
        """Load for the first time; every fault is raised. Blocking."""
        self._seen = self._fingerprint()
        self._take(*self._read())

    async def watch(self, interval: float, changed: Callable[[RuleSet], Awaitable[None]]) -> None:
        """Look at the folders every `interval` seconds, until cancelled; `changed` is told of a new set."""
        while True:
            await asyncio.sleep(interval)
            found = await asyncio.to_thread(self._fingerprint)
            if found == self._seen:
                continue
            self._seen = found
            try:
                ruleset, matcher = await asyncio.to_thread(self._read)
            except JianguanError as error:
                self.error = str(error)
                self._metrics.rule_reloads.labels("failed").inc()
                log.error("the rules were not reloaded, the old ones go on: %s", error)
                continue
            # The windows first: a fact of a rule that they do not know would be lost.
            await changed(ruleset)
            self._take(ruleset, matcher)
            self._metrics.rule_reloads.labels("done").inc()
            log.info("%d rules were reloaded", len(ruleset.running))

    def _read(self) -> tuple[RuleSet, Matcher]:
        ruleset = RuleSet.load(self._folders, self._reference)
        return ruleset, Matcher(ruleset, self._reference)

    def _take(self, ruleset: RuleSet, matcher: Matcher) -> None:
        self._ruleset, self._matcher = ruleset, matcher
        self._alert_matcher = AlertMatcher(ruleset, self._reference)
        self.error = ""
        self.loaded_at = to_millis(self._clock.now())

    def _fingerprint(self) -> Fingerprint:
        found = []
        for path in rule_files(self._folders):
            try:
                state = path.stat()
            except OSError:
                continue  # gone between the listing and the look: the next look sees it
            found.append((str(path), state.st_mtime_ns, state.st_size))
        return tuple(found)
