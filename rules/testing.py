"""Runs `*.test.yaml`: the events of a case go through the same matcher, engine and desk as live ones.

Pure but for reading the files: time is the test's own. It must not know the command line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from pydantic import ValidationError

from jianguan.clock import to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.case import Task
from jianguan.domain.casework import CaseDesk
from jianguan.domain.contract import MODELS
from jianguan.domain.event import Event
from jianguan.domain.ids import alert_id, event_id
from jianguan.errors import SourceError
from rules.alert_facts import AlertMatcher
from rules.checking import explain
from rules.engine import Engine
from rules.facts import Matcher
from rules.fields import ALERT_TYPES, FIELDS
from rules.loader import Document, Place, load, nearest
from rules.model import DAY
from rules.reference import Reference, deadlines
from rules.rule import Rule
from rules.ruleset import TEST_SUFFIX, RuleSet
from rules.testfile import START, TestCase, TestFile, offset_ms
from rules.values import alert_choices, choices, fault, kinds_with

_SETTABLE: Final = frozenset(FIELDS) - {"id", "received_at", "occurred_at", "source_id"}
NO_TESTS: Final = "has no tests"
NO_ALERT: Final = "no test raises an alert"
NO_SILENCE: Final = "no test shows when there is no alert"
_OF_ALERTS: Final = frozenset({"rule", "lead", "event_count"})
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str, "int": int, "double": (int, float), "bool": bool, "list(string)": list,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and what was wrong about it; no failures is a pass."""

    rule: str
    name: str
    path: str
    line: int
    failures: tuple[str, ...] = ()
    alerts: int = 0


@dataclass(slots=True)
class Report:
    """All cases that were run, rules whose tests are not enough, and files that could not be used."""

    results: list[CaseResult] = field(default_factory=list)
    incomplete: dict[str, str] = field(default_factory=dict)  # by rule: what its tests leave open
    errors: list[SourceError] = field(default_factory=list)
    unread: list[SourceError] = field(default_factory=list)  # what looks as if it were read and is not

    @property
    def failed(self) -> list[CaseResult]:
        return [result for result in self.results if result.failures]

    @property
    def exit_code(self) -> int:
        """0 all passed, 1 a case failed or is missing, or there is none at all, 4 a file is broken."""
        return 4 if self.errors else 1 if self.failed or self.incomplete or not self.results else 0


def test_path(rule: Rule) -> Path:
    """Where the tests of a rule are: beside it."""
    return Path(rule.path).with_suffix("").with_name(rule.id + TEST_SUFFIX)


test_path.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest's


def run_all(ruleset: RuleSet, reference: Reference, only: Sequence[str] = ()) -> Report:
    """Run the tests of all rules, or of those named."""
    report = Report()
    for rule in ruleset.rules:
        if only and rule.id not in only:
            continue
        path = test_path(rule)
        if not path.is_file():
            report.incomplete[rule.id] = NO_TESTS
            continue
        try:
            document = load(path)
            tests = read(document, reference)
            if missing := lacking(tests):
                report.incomplete[rule.id] = missing
            report.results.extend(run(rule, tests, document, reference))
        except SourceError as error:
            report.errors.append(error)
    return report


def lacking(tests: TestFile) -> str:
    """What the tests of a rule must have and these have not; empty when they are enough."""
    raised = [case.expect.alerts > 0 for case in tests.cases]
    return "" if any(raised) and not all(raised) else NO_SILENCE if any(raised) else NO_ALERT


def read(document: Document, reference: Reference) -> TestFile:
    """The tests in a document. SourceError with the first thing that is wrong."""
    try:
        tests = TestFile.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        raise explain(document, error)[0] from None
    names: dict[str, int] = {}
    for number, case in enumerate(tests.cases):
        first = names.setdefault(case.name, number)
        if first != number:
            line = document.positions.at(("cases", first))[0]
            raise document.error(("cases", number, "name"), "two cases have this name", f"the other is on line {line}")
        _check(document, ("cases", number, "defaults"), case.defaults)
        for index, given in enumerate(case.events):
            _check(document, ("cases", number, "events", index), given.model_extra or {})
    _check(document, ("defaults",), tests.defaults)
    for number, case in enumerate(tests.cases):
        for index, given in enumerate(case.events):
            levels: list[tuple[Place, Mapping[str, Any]]] = [
                (("defaults",), tests.defaults),
                (("cases", number, "defaults"), case.defaults),
                (("cases", number, "events", index), given.model_extra or {}),
            ]
            fields = {name: ((*place, name), value) for place, held in levels for name, value in held.items()}
            _check_values(document, fields, given.repeat, reference)
    return tests


def run(rule: Rule, tests: TestFile, document: Document, reference: Reference) -> Iterator[CaseResult]:
    """The result of each case, each with an engine of its own. A retired rule is run as if it were active."""
    ruleset = RuleSet([replace(rule, status="active") if rule.status == "retired" else rule])
    matcher, heard = Matcher(ruleset, reference), AlertMatcher(ruleset, reference)
    deadline = deadlines(reference)
    for number, case in enumerate(tests.cases):
        line = document.positions.at(("cases", number))[0]
        failures, alerts = _run_case(case, tests.defaults, matcher, heard, Engine(ruleset), CaseDesk(deadline))
        yield CaseResult(rule.id, case.name, document.path, line, tuple(failures), alerts)


def _run_case(
    case: TestCase,
    defaults: dict[str, Any],
    matcher: Matcher,
    heard: AlertMatcher,
    engine: Engine,
    desk: CaseDesk,
) -> tuple[list[str], int]:
    alerts: list[Alert] = []
    cases: set[str] = set()
    tasks: dict[str, Task] = {}
    facts = late = 0
    now = to_millis(case.start or datetime.fromisoformat(START))
    for given in inputs_of(case, defaults):
        now = given.received_at
        alerts.extend(_elapsed(engine, now))
        for fact in heard.facts(given) if isinstance(given, Alert) else matcher.facts(given):
            decision = engine.add(fact, now)
            facts += 1
            late += decision.late
            alerts.extend(decision.alerts)
    if case.until is not None:
        now = to_millis(case.start or datetime.fromisoformat(START)) + offset_ms(case.until)
        alerts.extend(_elapsed(engine, now))
    while case.until is None and (due := engine.due()) is not None:
        alerts.extend(_elapsed(engine, due))
    for alert in alerts:
        opened = desk.add_alert(alert, alert.raised_at).records
        cases.update(each.id for each in opened.cases)
        tasks.update((task.id, task) for task in opened.tasks)
    failures = [*_compare(case, alerts, facts, late), *_compare_work(case, len(cases), list(tasks.values()))]
    return failures, len(alerts)


def _elapsed(engine: Engine, now: int) -> Iterator[Alert]:
    """What the clock settles on its way to `now`, at the moments at which it does."""
    while (due := engine.due()) is not None and due <= now:
        yield from engine.elapse(due)


def events_of(case: TestCase, defaults: dict[str, Any]) -> Iterator[Event]:
    """The events of a case, without the alerts that it gives."""
    return (given for given in inputs_of(case, defaults) if isinstance(given, Event))


def inputs_of(case: TestCase, defaults: dict[str, Any]) -> Iterator[Event | Alert]:
    """The events of a case, in order of arrival; each is received when it happens or when the one before it was. What
    has a `rule` is an alert of that rule."""
    start = to_millis(case.start or datetime.fromisoformat(START))
    now = start
    number = 0
    for given in case.events:
        for turn in range(given.repeat):
            number += 1
            at = start + offset_ms(given.at) + turn * offset_ms(given.every)
            received = at + (offset_ms(given.received) if given.received else 0)
            now = max(now, received)
            fields = {**defaults, **case.defaults, **(given.model_extra or {})}
            make = _alert if "rule" in fields else _event
            yield make(fields, number, turn + 1, at, now)


def _alert(fields: dict[str, Any], number: int, turn: int, at: int, now: int) -> Alert:
    values: dict[str, Any] = dict.fromkeys(Alert._fields)
    named = {name: _filled(value, turn) if isinstance(value, str) else value for name, value in fields.items()}
    values.update(
        severity="medium", category="other", joint=(), values={}, thresholds={}, events=(), event_count=1,
        title_zh="", title_en="", legal_basis="", runbook="", rule_hash="", version=1, notify=True,
    )  # fmt: skip
    values.update({name: value for name, value in named.items() if name in ALERT_TYPES})
    values.update(id=alert_id(values["rule"], f"test {number}", at), key=f"test {number}", window_start=at - 1)
    values.update(time=at, episode=at, episode_end=at + DAY, raised_at=now, received_at=now)
    return Alert(**values)


def _event(fields: dict[str, Any], number: int, turn: int, at: int, now: int) -> Event:
    values: dict[str, Any] = dict.fromkeys(Event._fields)
    values.update(kind="complaint", category="other", source="test", tags=(), historical=False, content_hash="")
    for name, value in fields.items():
        if isinstance(value, str):
            value = _filled(value, turn)
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, int) and FIELDS[name] == "double":
            value = float(value)
        values[name] = value
    source_id = str(number)
    values.update(id=event_id(values["source"], source_id), source_id=source_id, occurred_at=at, received_at=now)
    return Event(**values)


def _check(document: Document, place: tuple[str | int, ...], fields: dict[str, Any]) -> None:
    """Fields of an event that do not exist or have another type: with a typing error, a negative test always passes."""
    for name, value in fields.items():
        where = (*place, name)
        known = _SETTABLE if name in FIELDS else _OF_ALERTS
        if name not in known:
            raise document.error(where, f"an event of a test has no field {name}", nearest(name, _SETTABLE), key=True)
        wanted = ALERT_TYPES[name] if name not in FIELDS or (name == "severity" and "rule" in fields) else FIELDS[name]
        right = isinstance(value, _TYPES[wanted]) and (not isinstance(value, bool) or wanted == "bool")
        if not right and value is not None:
            raise document.error(where, f"{name} is of type {wanted}")


def _check_values(
    document: Document, fields: Mapping[str, tuple[Place, Any]], repeat: int, reference: Reference
) -> None:
    """Values that no event of the kind can have, with their places: admission would refuse such an event."""
    alert = "rule" in fields
    at, kind = fields.get("kind", (("cases",), "complaint"))
    if not alert and kind not in MODELS:
        raise document.error(at, f"there is no kind {kind}", nearest(str(kind), MODELS))
    allowed = alert_choices() if alert else choices((kind,))
    for name, (place, value) in fields.items():
        if value is None or (alert and name not in ALERT_TYPES):
            continue
        if not alert and kind not in kinds_with(name):
            hint = f"only {' and '.join(kinds_with(name))} has it"
            raise document.error(place, f"an event of the kind {kind} has no field {name}", hint, key=True)
        if isinstance(value, str):
            turns = range(1, repeat + 1) if "{n}" in value else (1,)
            wrong = filter(None, (fault(name, _filled(value, turn), allowed, reference) for turn in turns))
            for message, hint in wrong:
                raise document.error(place, message, hint)


def _filled(text: str, turn: int) -> str:
    """A text of a repeated event."""
    return text.replace("{n}", str(turn))


def _compare(case: TestCase, alerts: list[Alert], facts: int, late: int) -> Iterator[str]:
    expect = case.expect
    if len(alerts) != expect.alerts:
        yield f"{expect.alerts} alerts expected, {len(alerts)} raised (facts: {facts})"
    for name, wanted, got in (("facts", expect.facts, facts), ("late", expect.late, late)):
        if wanted is not None and wanted != got:
            yield f"{wanted} {name} expected, there are {got}"
    for name, one in (("severity", expect.severity), ("lead", expect.lead)):
        for value in sorted({str(getattr(alert, name)) for alert in alerts if one not in (None, getattr(alert, name))}):
            yield f"{name} {one} expected, an alert has {value}"
    if expect.joint is not None:
        for joint in sorted({alert.joint for alert in alerts if set(alert.joint) != set(expect.joint)}):
            yield f"joint {sorted(expect.joint)} expected, an alert has {sorted(joint)}"
    for name, several in (("key", expect.keys), ("case_key", expect.case_keys)):
        found = sorted(str(getattr(alert, name)) for alert in alerts)
        if several is not None and sorted(several) != found:
            yield f"{name}s {sorted(several)} expected, the alerts have {found}"


def _compare_work(case: TestCase, cases: int, tasks: list[Task]) -> Iterator[str]:
    expect = case.expect
    if expect.cases is not None and expect.cases != cases:
        yield f"{expect.cases} cases expected, there are {cases}"
    if expect.tasks is None:
        return
    wanted: Counter[tuple[str, str]] = Counter((each.department, each.role) for each in expect.tasks)
    found: Counter[tuple[str, str]] = Counter((each.department, each.role) for each in tasks)
    for department, role in (wanted - found).elements():
        yield f"a task for {department} ({role}) expected, there is none"
    for department, role in (found - wanted).elements():
        yield f"a task for {department} ({role}) is not expected"


def as_text(report: Report) -> str:
    """A line a failure, then the sum."""
    lines = [str(error) for error in (*report.errors, *report.unread)]
    for result in report.failed:
        lines.extend(f"{result.path}:{result.line}: {result.rule}: {result.name}: {why}" for why in result.failures)
    lines.extend(f"{rule}: {why}" for rule, why in report.incomplete.items())
    passed = len(report.results) - len(report.failed)
    lines.append(f"{passed} passed, {len(report.failed)} failed, {len(report.incomplete)} rules without enough tests")
    return "\n".join(lines) + "\n"


def as_junit(report: Report) -> str:
    """JUnit XML, a test suite a rule. What the tests of a rule leave open is a failure of its suite."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    by_rule: dict[str, list[CaseResult]] = {}
    for result in report.results:
        by_rule.setdefault(result.rule, []).append(result)
    for rule, why in report.incomplete.items():
        found = CaseResult(rule, "has a case that raises an alert and one that does not", "", 0, (why,))
        by_rule.setdefault(rule, []).append(found)
    for rule, results in by_rule.items():
        failed = sum(1 for result in results if result.failures)
        lines.append(f'  <testsuite name={_attribute(rule)} tests="{len(results)}" failures="{failed}">')
        for result in results:
            head = f"    <testcase classname={_attribute(rule)} name={_attribute(result.name)}"
            head += f' file={_attribute(result.path)} line="{result.line}"' if result.path else ""
            if result.failures:
                message = _attribute("; ".join(result.failures))
                lines.extend([f"{head}>", f"      <failure message={message}/>", "    </testcase>"])
            else:
                lines.append(f"{head}/>")
        lines.append("  </testsuite>")
    if report.errors:
        count = len(report.errors)
        lines.append(f'  <testsuite name="files" tests="{count}" errors="{count}">')
        for error in report.errors:
            lines.append(f"    <testcase classname={_attribute(error.path)} name={_attribute('can be read')}>")
            lines.append(f"      <error message={_attribute(str(error))}/></testcase>")
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def _attribute(text: str) -> str:
    """A quoted XML attribute, without the characters that XML 1.0 cannot hold."""
    return quoteattr("".join(each if each >= " " or each in "\t\n" else "�" for each in text))
