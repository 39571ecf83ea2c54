"""A rule as it runs: a checked `RuleFile` turned into numbers, once, when it is loaded.

It must not know files, positions or conditions' syntax.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, Final

from jianguan.domain.china_time import SHANGHAI_MS
from jianguan.domain.ids import SEPARATOR
from rules.calendar import Span, WorkingSpan, span_of
from rules.judging import Extras, Judging, judging_of
from rules.model import (
    DAY,
    CaseSpec,
    Count,
    Decision,
    JointTable,
    LeadTable,
    RuleFile,
    Runbook,
    Trigger,
    Window,
    milliseconds,
)
from rules.model_pattern import Pattern

_EPOCH: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Grid:
    """Periods of `size` ms: [start, start + size). A multiple of a day begins at midnight in Shanghai, and counts
    days from 1970-01-01; any other size counts from 1970-01-01T00:00Z."""

    size: int
    offset: int

    @classmethod
    def of(cls, size: int) -> Grid:
        return cls(size, 0 if size % DAY else SHANGHAI_MS)

    def start(self, time: int) -> int:
        """Start of the period that holds `time`."""
        return (time + self.offset) // self.size * self.size - self.offset


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A row of a decision table. Each test is a place in the group, the values that fit, and what is within them."""

    tests: tuple[tuple[int, tuple[str, ...], Callable[[str, str], bool]], ...]
    lead: str
    joint: tuple[str, ...]

    def fits(self, values: tuple[str, ...]) -> bool:
        return all(any(within(values[place], each) for each in wanted) for place, wanted, within in self.tests)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to run. Times are ms."""

    id: str
    version: int
    content_hash: str  # BLAKE2b of the canonical form: any change of the file's meaning or texts changes it
    file: RuleFile
    path: str
    status: str
    severity: str
    title_zh: str
    title_en: str
    legal_basis: str
    runbook: str
    kinds: tuple[str, ...]
    condition: str
    groups: tuple[str, ...]
    size: int
    lateness: int
    # How much older than a key's newest fact the engine keeps facts: 2 * size + lateness, because an accepted fact may
    # be size + lateness old, and its window reaches another size back.
    retention: int
    periods: Grid | None  # of a tumbling window
    episodes: Grid
    count: int  # 1 when no count is asked for: a fact is in its own window
    distinct_of: str | None
    distinct: int
    sum_of: str | None
    sum: int
    least: int  # facts in the window, without which no trigger can hold
    thresholds: Mapping[str, float]
    case: str | None  # a field of group_by, `group`, or None
    lead: str | None
    lead_by: int  # place of the deciding field in groups, -1: constant
    leads: Mapping[str, str]
    joint: tuple[str, ...]
    joint_by: int
    joints: Mapping[str, tuple[str, ...]]
    clock: str | None
    notify: bool
    facts_per_key: int
    micros_per_fact: int
    span: Span | None = None  # of a sliding window that counts working days; `size` is then as long as it can get
    decisions: tuple[DecisionRow, ...] = field(default=(), compare=False)
    credit_points: int = 0
    in_force: tuple[int, int] | None = None  # [from, until), ms
    weights: Mapping[str, int] = field(default_factory=dict)  # of a rule on alerts: by rule
    inhibited_by: tuple[str, ...] = ()
    judging: Judging | None = None  # of a rule that is judged over whole facts
    checked: Any = field(default=None, compare=False, repr=False)  # rules.cel's checked condition

    @property
    def listens_to(self) -> frozenset[str]:
        """Rules whose alerts this one looks at, or is silenced by."""
        return frozenset((*self.weights, *self.inhibited_by))

    @property
    def looks_at(self) -> frozenset[str]:
        """What its windows need of facts, beside key, time, event and receipt: names of fields of Fact."""
        if self.judging is not None:
            return frozenset({"enterprise_name", "region", "industry", "category", "carried"})
        needed = {"member": self.distinct_of, "number": self.sum_of}
        return frozenset({name for name, field in needed.items() if field})

    @property
    def identity(self) -> tuple[str, int, str]:
        """What must be unchanged for windows to be kept."""
        return self.id, self.version, self.content_hash

    def lead_of(self, values: tuple[str, ...]) -> str | None:
        """The lead department of the group with these values."""
        row = self._row(values)
        if row is not None:
            return row.lead
        return self.lead if self.lead_by < 0 else self.leads.get(values[self.lead_by], self.lead)

    def joint_of(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The assisting departments of the group with these values, without the lead."""
        row = self._row(values)
        if row is not None:
            found = row.joint
        else:
            found = self.joint if self.joint_by < 0 else self.joints.get(values[self.joint_by], self.joint)
        lead = self.lead_of(values)
        return tuple(department for department in found if department != lead)

    def _row(self, values: tuple[str, ...]) -> DecisionRow | None:
        return next((row for row in self.decisions if row.fits(values)), None) if self.decisions else None

    def case_key_of(self, values: tuple[str, ...]) -> str | None:
        """`lead|kind|value`: the case that alerts of this group belong to; None when they open none."""
        if self.case is None or self.status != "active":
            return None
        if self.case == "group":
            kind, value = "+".join(self.groups), SEPARATOR.join(values)
        else:
            kind, value = self.case, values[self.groups.index(self.case)]
        return f"{self.lead_of(values)}|{kind}|{value}"


def build(
    file: RuleFile, path: str = "", checked: Any = None, extras: Extras | None = None, calendar: Sequence[int] = ()
) -> Rule:
    """The rule in a file whose names have been checked. `extras` is what was checked beside the rule's own condition;
    `calendar` is asked by rules that count working days."""
    trigger = file.trigger or Trigger(count=Count(at_least=1))
    judging = judging_of(file, extras or Extras(), calendar)
    window = file.pattern or file.window
    assert window is not None
    span = span_of(window.within if isinstance(window, Pattern) else window.size, calendar)
    size = span.size
    lateness = milliseconds(window.lateness)
    back = size if judging is None else judging.back
    episode = milliseconds(file.episode) if file.episode else size
    lead, joint = file.lead, file.joint
    thresholds = {
        name: float(clause.at_least)
        for name, clause in (("count", trigger.count), ("distinct", trigger.distinct), ("sum", trigger.sum))
        if clause is not None and judging is None
    }
    return Rule(
        id=file.id,
        version=file.version,
        content_hash=content_hash(file),
        file=file,
        path=path,
        status=file.status,
        severity=file.severity,
        title_zh=file.title.zh,
        title_en=file.title.en,
        legal_basis=_lines(file.legal_basis),
        runbook=_runbook(file.runbook),
        kinds=tuple(file.on),
        condition=file.condition,
        groups=file.groups,
        size=size,
        lateness=lateness,
        retention=2 * back + lateness,
        periods=Grid.of(size) if isinstance(window, Window) and window.kind == "tumbling" else None,
        episodes=Grid.of(episode),
        count=trigger.count.at_least if trigger.count else 1,
        distinct_of=trigger.distinct.of if trigger.distinct else None,
        distinct=trigger.distinct.at_least if trigger.distinct else 0,
        sum_of=trigger.sum.of if trigger.sum else None,
        sum=trigger.sum.at_least if trigger.sum else 0,
        least=max(trigger.count.at_least if trigger.count else 1, trigger.distinct.at_least if trigger.distinct else 1),
        thresholds=MappingProxyType(thresholds),
        case=file.case.key if isinstance(file.case, CaseSpec) else None,
        lead=lead.default if isinstance(lead, LeadTable) else lead,
        lead_by=file.groups.index(lead.by) if isinstance(lead, LeadTable) else -1,
        leads=lead.table if isinstance(lead, LeadTable) else {},
        joint=tuple(joint.default if isinstance(joint, JointTable) else joint),
        joint_by=file.groups.index(joint.by) if isinstance(joint, JointTable) else -1,
        joints={key: tuple(value) for key, value in joint.table.items()} if isinstance(joint, JointTable) else {},
        clock=file.clock,
        notify=file.notify and file.status == "active",
        facts_per_key=file.limits.facts_per_key,
        micros_per_fact=file.limits.micros_per_fact,
        span=span if isinstance(span, WorkingSpan) else None,
        decisions=tuple(_decision(row, file.groups, (extras or Extras()).within) for row in file.decision_table),
        credit_points=file.credit_points,
        in_force=in_force(file),
        weights=dict(file.rules or {}),
        inhibited_by=tuple(file.inhibited_by),
        judging=judging,
        checked=checked,
    )


def _decision(row: Decision, groups: tuple[str, ...], within: Mapping[str, Callable[[str, str], bool]]) -> DecisionRow:
    tests = []
    for name, wanted in row.when.items():
        values = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        tests.append((groups.index(name), values, within.get(name.partition(".")[0], str.__eq__)))
    return DecisionRow(tuple(tests), row.lead, tuple(row.joint))


def in_force(file: RuleFile) -> tuple[int, int] | None:
    """The moments (ms) from and before which a rule is in force; None when it always is."""
    if file.in_force is None:
        return None
    first, end = file.in_force.from_ or "1970-01-01", file.in_force.until or "9999-12-31"
    return _midnight(first), _midnight(end)


def _midnight(day: str) -> int:
    return (date.fromisoformat(day).toordinal() - _EPOCH) * DAY - SHANGHAI_MS


def content_hash(file: RuleFile) -> str:
    """16 bytes of BLAKE2b, in hex, over the file's values as canonical JSON. Layout and comments do not count."""
    canonical = json.dumps(
        file.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode("utf-8")
    return blake2b(canonical, digest_size=16).hexdigest()


def _lines(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "\n".join(text)


def _runbook(runbook: Runbook | None) -> str:
    return "" if runbook is None else f"{_steps(runbook.zh)}\n\n{_steps(runbook.en)}"


def _steps(text: str | list[str]) -> str:
    if isinstance(text, str):
        return text
    return "\n".join(f"{number}. {step}" for number, step in enumerate(text, 1))
