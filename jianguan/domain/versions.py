"""Versions of rules as the record has them: who approved which content, and when it began to run, with its whole text.

They are steps of the trace with a rule as their subject, so that what an alert cites stays readable for as long as the
trace does. Pure. A name of a person is what was told; nothing here proves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jianguan.domain.ids import make_id
from jianguan.domain.trace import STAGES, Step

ACTIVATED: Final = "activated"
APPROVED: Final = "approved"
WITHDRAWN: Final = "withdrawn"
TRIED: Final = "tried"  # on history, with a condition that reads what is personal
WHATS: Final = (ACTIVATED, APPROVED, WITHDRAWN)
SUBJECT: Final = "rule/"


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One activation of one rule."""

    rule: str
    version: int
    hash: str
    at: int  # ms; until the next activation of the rule, or its withdrawal
    author: str
    reason: str
    people: tuple[str, ...]  # who approved it
    text: str  # the whole file


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person said of one content of a rule."""

    rule: str
    hash: str
    person: str
    reason: str
    at: int


class Ledger:
    """Activations and approvals of all rules, read from their steps."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._versions: dict[str, list[RuleVersion]] = {}
        self._running: dict[str, RuleVersion | None] = {}
        self._approvals: dict[tuple[str, str], dict[str, Approval]] = {}
        for step in sorted(steps, key=lambda each: (each.at, each.id)):
            self._take(step)

    def _take(self, step: Step) -> None:
        rule = step.subject.removeprefix(SUBJECT)
        detail = json.loads(step.detail)
        if step.what == ACTIVATED:
            people = tuple(detail["people"])
            found = RuleVersion(
                rule, detail["version"], detail["hash"], step.at, step.actor, detail["reason"], people, detail["text"]
            )
            self._versions.setdefault(rule, []).append(found)
            self._running[rule] = found
        elif step.what == WITHDRAWN:
            self._running[rule] = None
        elif step.what == APPROVED:
            approval = Approval(rule, detail["hash"], step.actor, detail["reason"], step.at)
            self._approvals.setdefault((rule, approval.hash), {}).setdefault(approval.person, approval)

    def __bool__(self) -> bool:
        return bool(self._versions)

    def versions(self, rule: str) -> Sequence[RuleVersion]:
        """All activations of a rule, oldest first."""
        return tuple(self._versions.get(rule, ()))

    def version(self, rule: str, version: int) -> RuleVersion | None:
        """The latest activation of that version."""
        return next((each for each in reversed(self.versions(rule)) if each.version == version), None)

    def running(self, rule: str) -> RuleVersion | None:
        """What runs, as far as the record knows."""
        return self._running.get(rule)

    def rules(self) -> list[str]:
        """Rules that ran at some time."""
        return sorted(self._versions)

    def approvals(self, rule: str, content: str) -> Sequence[Approval]:
        """What people said of one content, one a person, oldest first."""
        return tuple(self._approvals.get((rule, content), {}).values())


def activated(version: RuleVersion, ordinal: int) -> Step:
    """The step of the `ordinal`-th activation of a rule: whoever tells it, it is one step."""
    detail = {
        "version": version.version,
        "hash": version.hash,
        "reason": version.reason,
        "people": list(version.people),
        "text": version.text,
    }
    return _step(version.rule, ACTIVATED, version.at, version.author, detail, version.hash, str(ordinal))


def withdrawn(rule: str, at: int, author: str, ordinal: int) -> Step:
    """The step that says that a rule is no longer there."""
    return _step(rule, WITHDRAWN, at, author, {}, str(ordinal))


def approved(approval: Approval) -> Step:
    """The step of an approval."""
    detail = {"hash": approval.hash, "reason": approval.reason}
    return _step(approval.rule, APPROVED, approval.at, approval.person, detail, approval.hash, approval.person)


def tried(rule: str, content: str, at: int, fields: Iterable[str], text: str) -> Step:
    """The step that says that a draft was tried whose condition reads personal fields: by its result, a condition may
    tell of them."""
    detail = {"hash": content, "fields": sorted(fields), "text": text}
    return _step(rule, TRIED, at, "operator", detail, content, str(at))


def _step(rule: str, what: str, at: int, actor: str, detail: Mapping[str, object], *parts: str) -> Step:
    text = json.dumps(detail, ensure_ascii=False)
    subject = f"{SUBJECT}{rule}"
    return Step(make_id("st", subject, what, *parts), subject, at, STAGES["operate"], what, actor, "", "", (), text)
