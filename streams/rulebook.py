"""The rules that run now, and their replacement while everything goes on.

A rule folder is looked at again and again; when something in it has changed, all of it is loaded anew. If that fails
the old set goes on running and the error is shown: nobody loses alerts because of a typing error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact
from jianguan.domain.trace import Step
from jianguan.domain.versions import Ledger
from jianguan.errors import JianguanError, UnavailableError
from jianguan.metrics import Metrics
from rules.activation import Activation, Waiting, activate
from rules.alert_facts import AlertMatcher
from rules.facts import Matcher
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet, rule_files

log = logging.getLogger(__name__)

Fingerprint = tuple[tuple[str, int, int], ...]


class RuleRecord(Protocol):
    """Where activations of rules are kept. Blocking; may raise UnavailableError."""

    def ledger(self) -> Ledger:
        """All that is recorded."""

    def record(self, steps: Sequence[Step]) -> None:
        """Record activations."""


def owner_of(rule: Rule) -> str:
    """Who the file of a rule belongs to."""
    try:
        return Path(rule.path).owner()
    except (OSError, KeyError, NotImplementedError):
        return "unknown"


class RuleBook:
    """Holds one rule set and its matcher. With a record, each activation is written down, and `people` must have
    approved a change before it runs."""

    def __init__(
        self,
        folders: Sequence[Path],
        reference: Reference,
        clock: Clock,
        metrics: Metrics,
        record: RuleRecord | None = None,
        people: int = 0,
    ) -> None:
        self._record = record
        self._people = people
        self._activation = Activation(RuleSet([]))
        self._folders = tuple(folders)
        self._reference = reference
        self._clock = clock
        self._metrics = metrics
        self._seen: Fingerprint = ()
        self._ruleset: RuleSet | None = None
        self._matcher: Matcher | None = None
        self._alert_matcher: AlertMatcher | None = None
        self._newest: dict[str, int] = {}  # version by rule, of all that ever ran here
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

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Content of rules that wait for approval."""
        return self._activation.waiting

    def activated_at(self, rule: str) -> int | None:
        """When the content of a running rule was activated, ms; None without a record."""
        return self._activation.since.get(rule)

    def is_ahead(self, rule: str, version: int) -> bool:
        """Whether this version of a rule has not run here yet, nor a later one: another worker has loaded it first."""
        return version > self._newest.get(rule, 0)

    def load(self) -> None:
        """Load for the first time; every fault is raised. Blocking."""
        self._seen = self._fingerprint()
        self._take(*self._read())

    async def watch(
        self,
        interval: float,
        changed: Callable[[RuleSet], Awaitable[None]],
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Look at the folders every `interval` seconds, until cancelled; `changed` is told of a new set before it runs,
        `settled` when it does. While the record or `changed` is unavailable the old set runs, and it is tried again."""
        while True:
            await asyncio.sleep(interval)
            found = await asyncio.to_thread(self._fingerprint)
            if found == self._seen and not self.waiting:
                continue
            before, seen, self._seen = self._activation, self._seen, found
            try:
                activation, matcher = await asyncio.to_thread(self._read)
                self._activation = activation  # the windows ask when their rules were activated
                if found == seen and activation.ruleset.digest == self.ruleset.digest:
                    continue  # somebody else approved, and others are still asked for
                # The windows first: a fact of a rule that they do not know would be lost.
                await changed(activation.ruleset)
            except JianguanError as error:
                self._activation = before
                if isinstance(error, UnavailableError):
                    self._seen = ()  # the files may be good: they are looked at until the store is back
                self.error = str(error)
                self._metrics.rule_reloads.labels("failed").inc()
                log.error("the rules were not reloaded, the old ones go on: %s", error)
                continue
            self._take(activation, matcher)
            self._metrics.rule_reloads.labels("done").inc()
            log.info("%d rules were reloaded", len(activation.ruleset.running))
            if settled is not None:
                await settled()

    def _read(self) -> tuple[Activation, Matcher]:
        ruleset, texts = self._loaded()
        activation = Activation(ruleset)
        if self._record is not None:
            now = to_millis(self._clock.now())
            ledger = self._record.ledger()
            activation = activate(ruleset, texts, owner_of, ledger, self._people, self._reference, now)
            self._record.record(activation.steps)
        return activation, Matcher(activation.ruleset, self._reference)

    def _loaded(self) -> tuple[RuleSet, dict[str, str]]:
        """The rules, and the texts by rule that they were made of: of files that nobody has changed meanwhile."""
        while True:
            before = self._fingerprint()
            ruleset = RuleSet.load(self._folders, self._reference)
            with suppress(OSError, UnicodeDecodeError):  # changed or gone since: the next try tells
                texts = {rule.id: Path(rule.path).read_text(encoding="utf-8-sig") for rule in ruleset}
                if self._fingerprint() == before:
                    return ruleset, texts

    def _take(self, activation: Activation, matcher: Matcher) -> None:
        self._activation = activation
        self._ruleset, self._matcher = activation.ruleset, matcher
        self._alert_matcher = AlertMatcher(activation.ruleset, self._reference)
        for rule in activation.ruleset.running:
            self._newest[rule.id] = max(rule.version, self._newest.get(rule.id, 0))
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
