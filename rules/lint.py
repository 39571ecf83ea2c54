"""What is suspicious about a rule that loads: each check is a small class with one finding and one level.

Errors are rules that cannot do what they say; warnings are likely mistakes; infos are worth knowing. It must not know
the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from jianguan.errors import SourceError
from rules.cel.tree import Identifier, walk
from rules.finding import Check, Finding, Found, Spot, Subject
from rules.lint_reach import DeadAlternative, NeverTrue, Shadowed, UnboundedState
from rules.lint_values import KindNotLookedAt, UnknownCategory, UnknownValue
from rules.loader import Document, load
from rules.model import DAY, JointTable
from rules.reference import Reference
from rules.ruleset import RuleSet, unread
from rules.testfile import TestFile
from rules.testing import NO_ALERT, lacking, read, test_path

BROKEN: Final = "broken-file"
UNREAD: Final = "not-read"
_MANY_FACTS: Final = 50_000
_CJK: Final = re.compile(r"[㐀-鿿]")
_LAW: Final = re.compile(r"第.{1,12}条|\b(art|article|section|sec|chapter|code|§)", re.IGNORECASE)


class ConditionIsConstant(Check):
    """A condition that does not look at the event."""

    code, level = "constant-condition", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        named = {node.name for node in walk(subject.rule.checked.tree.root) if isinstance(node, Identifier)}
        if not named - {"kind"} and subject.rule.condition.strip() != "true":
            yield ("condition",), "the condition looks at no field of the event", 'write "true" if that is meant'


class RunbookMissing(Check):
    """An alert that does not say what to do."""

    code, level = "no-runbook", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        if subject.rule.file.runbook is None:
            yield (), "there is no runbook: whoever gets the alert is not told what to do", "add runbook"


class LegalBasisVague(Check):
    """A legal basis without an article."""

    code, level = "vague-legal-basis", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        if not _LAW.search(subject.rule.legal_basis):
            yield ("legal_basis",), "the legal basis names no article", "name the law and its article"


class TestsMissing(Check):
    """A rule whose behaviour nobody pinned."""

    __test__ = False
    code, level = "no-tests", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        if subject.tests is None:
            yield (), f"there are no tests beside the rule ({test_path(subject.rule).name})", "add one"
        elif missing := lacking(subject.tests):
            yield (), missing, f"add a case with alerts: {int(missing == NO_ALERT)}"


class RepeatWithoutEvery(Check):
    """Repeated events of a test that do not say how far apart they are."""

    code, level = "repeat-without-every", "warning"
    of_tests = True

    def look(self, subject: Subject) -> Iterator[Found]:
        for number, case in enumerate(subject.tests.cases if subject.tests is not None else ()):
            for index, event in enumerate(case.events):
                if event.repeat > 1 and "every" not in event.model_fields_set:
                    place = ("cases", number, "events", index, "repeat")
                    yield place, f"{event.repeat} events are one second apart", "say so with `every: 1s`, or how far"


class TitleLanguage(Check):
    """A title in the wrong language."""

    code, level = "title-language", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        if not _CJK.search(subject.rule.title_zh):
            yield ("title", "zh"), "the Chinese title has no Chinese in it", ""
        if _CJK.search(subject.rule.title_en):
            yield ("title", "en"), "the English title is not English", ""


class EpisodeLongerThanKept(Check):
    """An episode so long that news is silenced, or so short that alerts repeat."""

    code, level = "episode-length", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        if rule.episodes.size > 366 * DAY:
            yield ("episode",), "one alert in more than a year: a new problem would be silent", "shorten episode"
        elif rule.episodes.size * 10 < rule.size:
            yield ("episode",), "a lasting problem raises more than ten alerts in one window", "lengthen episode"


class ManyFacts(Check):
    """A rule that may take much memory."""

    code, level = "many-facts", "info"

    def look(self, subject: Subject) -> Iterator[Found]:
        if subject.rule.facts_per_key > _MANY_FACTS:
            yield ("limits", "facts_per_key"), f"a key may hold {subject.rule.facts_per_key} facts", ""


class AlwaysTrue(Check):
    """A trigger that every fact meets."""

    code, level = "every-fact-alerts", "info"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        if rule.judging is None and rule.count <= 1 and rule.distinct <= 1 and not rule.sum_of:
            yield ("trigger",), "one fact is enough for an alert, once an episode", ""


class LeadAssists(Check):
    """A lead department that is also among those that assist."""

    code, level = "lead-assists", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        lead, joint = subject.rule.file.lead, subject.rule.file.joint
        if isinstance(joint, JointTable):
            return
        if lead in joint:
            yield ("joint",), f"{lead} leads and need not assist itself", "take it out of joint"
        if len(set(joint)) != len(joint):
            yield ("joint",), "a department is there twice", ""


class JointWithoutCase(Check):
    """Departments that are named for nothing."""

    code, level = "departments-without-case", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        if rule.case is None and (rule.joint or rule.joints):
            yield ("joint",), "departments assist in a case, and this rule opens none", "add case"


class LongConditionOnText(Check):
    """A condition on personal free text."""

    code, level = "reads-personal-text", "info"

    def look(self, subject: Subject) -> Iterator[Found]:
        if "text" in subject.rule.checked.fields:
            yield ("condition",), "the condition reads the reporter's free text, which only some sources have", ""


class NotRunning(Check):
    """A rule that opens no case, or does nothing."""

    code, level = "not-active", "info"

    def look(self, subject: Subject) -> Iterator[Found]:
        if subject.rule.status != "active":
            yield ("status",), f"the rule is {subject.rule.status}", ""


class NoLongerInForce(Check):
    """A rule whose time is over."""

    code, level = "no-longer-in-force", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        told = subject.rule.file.in_force
        if told is None or told.until is None or subject.today is None or subject.rule.status == "retired":
            return
        if date.fromisoformat(told.until) <= subject.today:
            message = f"it was in force until {told.until}: nothing that happens now can raise an alert"
            yield ("in_force", "until"), message, "set status to retired, or a later day"


CHECKS: Final[tuple[Check, ...]] = (
    NeverTrue(), KindNotLookedAt(), UnknownValue(), ConditionIsConstant(), DeadAlternative(), Shadowed(),
    UnboundedState(), UnknownCategory(), RunbookMissing(), LegalBasisVague(), TestsMissing(), RepeatWithoutEvery(),
    TitleLanguage(), EpisodeLongerThanKept(), LeadAssists(), JointWithoutCase(), ManyFacts(), AlwaysTrue(),
    LongConditionOnText(), NotRunning(), NoLongerInForce(),
)  # fmt: skip


def lint(ruleset: RuleSet, reference: Reference, today: date | None = None) -> list[Finding]:
    """Findings in all rules, in order of file and line. `today` in Shanghai; None: no day is too late."""
    found: list[Finding] = []
    for rule in ruleset.rules:
        try:
            document = load(Path(rule.path))
        except SourceError as error:
            found.append(_of_error(error, rule.id))
            continue
        tests: TestFile | None = None
        given: Document | None = None
        path = test_path(rule)
        if path.is_file():
            try:
                given = load(path)
                tests = read(given, reference)
            except SourceError as error:
                found.append(_of_error(error, rule.id))
                found.extend(
                    _looked_at(Subject(rule, document, None, reference, ruleset.rules, today), skip="no-tests")
                )
                continue
        found.extend(_looked_at(Subject(rule, document, tests, reference, ruleset.rules, today, given)))
    return sorted(found, key=_in_order)


def lint_folders(folders: Sequence[Path], reference: Reference, today: date | None = None) -> list[Finding]:
    """Findings in all rules of some folders; what is wrong with one file does not hide what is wrong with another."""
    ruleset, errors = RuleSet.read(folders, reference)
    found = lint(ruleset, reference, today)
    found += [_of_error(error, "") for error in errors]
    found += [replace(_of_error(each, ""), level="warning", code=UNREAD) for each in unread(folders)]
    return sorted(found, key=_in_order)


def descriptions() -> dict[str, str]:
    """What each code means, in one line."""
    told = {check.code: (type(check).__doc__ or "").strip().split("\n")[0] for check in CHECKS}
    return {**told, BROKEN: "A file that cannot be used.", UNREAD: "A file or a folder that holds no rule."}


def _in_order(finding: Finding) -> tuple[str, int, int, str]:
    return finding.path, finding.line, finding.column, finding.code


def _looked_at(subject: Subject, skip: str = "") -> Iterator[Finding]:
    for check in CHECKS:
        if check.code == skip:
            continue
        document = (subject.test_document if check.of_tests else None) or subject.document
        for place, message, hint in check.look(subject):
            line, column = place if isinstance(place, Spot) else document.positions.key_at(place)
            yield Finding(check.level, check.code, subject.rule.id, message, document.path, line, column, hint)


def _of_error(error: SourceError, rule: str) -> Finding:
    return Finding("error", BROKEN, rule, error.message, error.path, error.line, error.column, error.hint)
