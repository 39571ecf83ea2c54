"""Which rules may run: those whose content was activated before, and new content once enough people approved it.

Pure: the files and the record go in, the rules that run and the steps to be recorded come out. It must not know where
either is kept.

Where nothing was ever activated, all that is there is: that is an installation. With no approvals asked for, whoever
may write the folder decides. Else a changed rule waits, and its last activated version goes on running.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jianguan.domain.trace import Step
from jianguan.domain.versions import Approval, Ledger, RuleVersion, activated, withdrawn
from jianguan.errors import SourceError
from rules.checking import Checker
from rules.loader import parse
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleErrors, RuleSet

INSTALLATION: Final = "installation"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Content of a rule that may not run yet."""

    rule: Rule
    approvals: tuple[Approval, ...]
    needed: int


@dataclass(frozen=True, slots=True)
class Activation:
    """What follows from the files and the record."""

    ruleset: RuleSet
    waiting: tuple[Waiting, ...] = ()
    steps: tuple[Step, ...] = ()  # to be recorded
    since: Mapping[str, int] = field(default_factory=dict)  # by running rule: when its content was activated, ms


def activate(
    files: RuleSet, texts: Mapping[str, str], authors: Callable[[Rule], str], ledger: Ledger, people: int,
    reference: Reference, now: int,
) -> Activation:  # fmt: skip
    """The rules that run now. `texts` are the files by rule id; `authors` names who wrote a file."""
    running: list[Rule] = []
    waiting: list[Waiting] = []
    steps: list[Step] = []
    since: dict[str, int] = {}
    empty = not ledger
    for rule in files:
        before = ledger.running(rule.id)
        if before is not None and before.hash == rule.content_hash:
            running.append(rule)
            since[rule.id] = before.at
            continue
        approvals = ledger.approvals(rule.id, rule.content_hash)
        if not empty and len(approvals) < people:
            waiting.append(Waiting(rule, tuple(approvals), people))
            if before is not None:
                running.append(rule_of(before.text, reference))
                since[rule.id] = before.at
            continue
        author = INSTALLATION if empty else approvals[0].person if approvals else authors(rule)
        version = RuleVersion(
            rule.id, rule.version, rule.content_hash, now, author, "; ".join(each.reason for each in approvals),
            tuple(each.person for each in approvals), texts[rule.id],
        )  # fmt: skip
        steps.append(activated(version, len(ledger.versions(rule.id)) + 1))
        running.append(rule)
        since[rule.id] = now
    there = {rule.id for rule in files}
    for name in ledger.rules():
        if name not in there and ledger.running(name) is not None:
            steps.append(withdrawn(name, now, INSTALLATION, len(ledger.versions(name))))
    return Activation(RuleSet(running), tuple(waiting), tuple(steps), since)


def rule_of(text: str, reference: Reference, path: str = "") -> Rule:
    """The rule in a text. RuleErrors with all that is wrong with it."""
    try:
        rule, errors = Checker(reference).rule(parse(text, path))
    except SourceError as error:
        raise RuleErrors([error]) from error
    if rule is None:
        raise RuleErrors(errors)
    return rule
