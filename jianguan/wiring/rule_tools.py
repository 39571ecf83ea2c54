"""What people ask about rules, joined to the store: explanations, backtests, versions. Blocking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from jianguan.clock import Clock, to_millis
from jianguan.domain.event import Event
from jianguan.domain.explanation import Explanation
from jianguan.domain.filters import Test
from jianguan.domain.hindsight import BacktestReport, BacktestRequest, RuleLabel, WarmReport
from jianguan.domain.trace import Records, Step
from jianguan.domain.versions import Approval, Ledger, approved, tried
from jianguan.errors import InputError, UnavailableError
from jianguan.ports import Archive, RuleHistory, Store
from jianguan.wiring.restore import FOREVER
from rules.activation import rule_of
from rules.backtest import Backtest, heard_by
from rules.explain import PERSONAL, explain, fact_time, history_filter
from rules.fields import FIELDS
from rules.pushdown import fields_of_rule
from rules.reference import Reference
from rules.rule import Rule
from rules.warming import Warming
from streams.rulebook import RuleBook

_RUN: Final = 2_000  # events between two looks at whether the work is still wanted
_BREATH: Final = 0.001  # seconds that others get between two runs: the stages share this process


class StoredRuleRecord:
    """Activations of rules, as steps in the store."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self._store = store
        self._archive = archive

    def ledger(self) -> Ledger:
        """All that is recorded."""
        return Ledger(self._archive.rule_steps())

    def record(self, steps: Sequence[Step]) -> None:
        """Write steps, at once."""
        if steps:
            self._store.write(Records(trace=list(steps)), "rules-" + "-".join(step.id for step in steps[:4]))


class StoredRuleTools:
    """`jianguan.ports.RuleTools` over the store and the rules that run. `stop` ends what is under way."""

    def __init__(
        self,
        archive: Archive,
        record: StoredRuleRecord,
        rulebook: RuleBook,
        reference: Reference,
        clock: Clock,
        max_age: int,
        people: int = 0,
    ) -> None:
        self._archive = archive
        self._record = record
        self._rulebook = rulebook
        self._reference = reference
        self._clock = clock
        self._max_age = max_age
        self._people = people
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End backtests that run, and refuse others."""
        self._stopped.set()

    def explain(self, rule: str, event: str, version: int | None = None) -> Explanation:
        """Why the rule fired on the event, or did not."""
        found = self._rule(rule, version)
        given = self._event(event)
        wanted = history_filter(found, given, self._reference)
        since = max(0, fact_time(given) - found.retention)
        before = self._archive.events_to_judge(wanted, fields_of_rule(found), since, FOREVER, self._max_age)
        return explain(found, given, _flat(before), self._reference, max_age=self._max_age)

    def check(self, request: BacktestRequest) -> RuleLabel:
        """The rule that a request asks about."""
        rule, _ = self._rules(request)
        return RuleLabel(rule.id, rule.version, rule.content_hash, rule.title_zh, rule.title_en)

    def backtest(self, request: BacktestRequest, progress: Callable[[int, int], None]) -> BacktestReport:
        """What the rule would have done; `progress(done, of)` may raise to end the work."""
        rule, against = self._rules(request)
        others = self._rulebook.ruleset
        now = to_millis(self._clock.now())
        trial = Backtest(rule, against, self._reference, request.since, request.until, others, now)
        personal = PERSONAL & trial.own_fields
        if request.text and personal:
            self._record.record([tried(rule.id, rule.content_hash, now, personal, request.text)])
        since = max(0, trial.from_)
        total = self._archive.count_to_judge(trial.filter, since, trial.to, self._max_age)
        done = 0
        progress(done, total)
        for block in self._archive.events_to_judge(trial.filter, trial.fields, since, trial.to, self._max_age):
            for start in range(0, len(block), _RUN):
                trial.add(block[start : start + _RUN])
                done += len(block[start : start + _RUN])
                progress(done, max(done, total))
                if self._stopped.wait(_BREATH):
                    raise UnavailableError("the server is stopping")
            if trial.full:
                break
        return trial.report()

    def warm(self, rule: str) -> WarmReport:
        """With what the windows of a rule would begin if it were new now; what runs is not touched."""
        warming = Warming(self._rule(rule), self._reference, to_millis(self._clock.now()))
        for block in self._archive.events_to_judge(
            warming.filter, warming.fields, warming.since, FOREVER, self._max_age
        ):
            for start in range(0, len(block), _RUN):
                warming.add(block[start : start + _RUN])
                if self._stopped.wait(_BREATH):
                    raise UnavailableError("the server is stopping")
        return warming.report()

    def history(self, rule: str) -> RuleHistory:
        """Every version of a rule that ever ran here."""
        ledger = self._record.ledger()
        waiting = next((each for each in self._rulebook.waiting if each.rule.id == rule), None)
        versions = tuple(reversed(ledger.versions(rule)))
        if not versions and waiting is None and self._rulebook.ruleset.by_id(rule) is None:
            raise InputError("unknown-rule", f"there is no rule {rule[:80]!r}")
        shown = RuleHistory(rule=rule, running=ledger.running(rule), versions=versions, needed=self._people)
        if waiting is None:
            return shown
        return RuleHistory(
            rule=rule,
            running=shown.running,
            versions=versions,
            waiting=_text_of(waiting.rule),
            waiting_version=waiting.rule.version,
            waiting_hash=waiting.rule.content_hash,
            approvals=tuple(ledger.approvals(rule, waiting.rule.content_hash)),
            needed=waiting.needed,
        )

    def approve(self, rule: str, person: str, reason: str) -> RuleHistory:
        """Record that a person approves the content that waits for a rule."""
        waiting = next((each for each in self._rulebook.waiting if each.rule.id == rule), None)
        if waiting is None:
            self.history(rule)  # an unknown rule is told as such
            raise InputError("nothing-waits", f"no content of the rule {rule} waits for approval")
        now = to_millis(self._clock.now())
        self._record.record([approved(Approval(rule, waiting.rule.content_hash, person, reason, now))])
        return self.history(rule)

    def _rule(self, identifier: str, version: int | None = None) -> Rule:
        running = self._rulebook.ruleset.by_id(identifier)
        if running is not None and version in (None, running.version):
            return running
        ledger = self._record.ledger()
        found = ledger.running(identifier) if version is None else ledger.version(identifier, version)
        if found is None:
            what = (
                f"rule {identifier[:80]!r}" if version is None else f"version {version} of the rule {identifier[:80]!r}"
            )
            raise InputError("unknown-rule", f"there is no {what}")
        return rule_of(found.text, self._reference)

    def _rules(self, request: BacktestRequest) -> tuple[Rule, Rule | None]:
        if request.until <= request.since:
            raise InputError("empty-time", "the time ends before it begins")
        candidate = rule_of(request.text, self._reference) if request.text else self._rule(request.rule)
        heard_by(candidate, {rule.id: rule for rule in self._rulebook.ruleset})  # told at once, not by a failed job
        if request.against is not None:
            return candidate, self._rule(candidate.id, request.against)
        running = self._rulebook.ruleset.by_id(candidate.id)
        same = running is None or running.content_hash == candidate.content_hash
        return candidate, None if same else running

    def _event(self, identifier: str) -> Event:
        wanted = Test("id", "=", (identifier,))
        for event in _flat(self._archive.events_to_judge(wanted, [*FIELDS], 0, FOREVER, FOREVER)):
            return event
        raise InputError("unknown-event", f"there is no event {identifier[:80]!r}")


def _flat(blocks: Iterator[list[Event]]) -> Iterator[Event]:
    for block in blocks:
        yield from block


def _text_of(rule: Rule) -> str:
    try:
        return Path(rule.path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""
