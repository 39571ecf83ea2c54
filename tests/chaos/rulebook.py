"""The rules of a run: windows that decide at once, a sum, an absence that the clock settles, and a rule on alerts.

Their alerts depend on the accepted events alone (docs/rules.md, *Episodes* and *At once, or settled by the clock*),
with one exception that the oracle knows: whether an event counts for the absence depends on when it was received.
Windows are of days and everything happens within minutes, so nothing is late for a window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

DECISION_WITHIN: Final = 15  # seconds from a complaint to the decision on it
LATENESS: Final = 40  # seconds; an outage that is longer makes events late for the absence, which is no fault

_HEAD: Final = """\
id: {id}
version: 1
title: {{zh: 混沌试验规则, en: A rule of the chaos test}}
owner: market-regulation
legal_basis: none, a rule for a test
severity: medium
lead: market-regulation
"""
_WINDOW: Final = """\
on: [complaint]
condition: category == "{category}"
group_by: enterprise
window: {{size: 30d, lateness: 2d}}
trigger: {{count: {{at_least: {at_least}}}}}
case: {{key: enterprise}}
joint: [public-security]
clock: complaint-acceptance
"""
_PENALTIES: Final = """\
on: [violation]
condition: result == "fail"
group_by: enterprise
window: {size: 30d, lateness: 2d}
trigger: {sum: {of: penalty_fen, at_least: 1000000}}
case: {key: enterprise}
"""
_UNDECIDED: Final = f"""\
on: [complaint]
condition: category == "service" && present(status)
group_by: product
pattern:
  steps:
    - {{name: filed, where: status == "filed"}}
    - {{name: decided, where: status == "accepted", absent: true}}
  within: {DECISION_WITHIN}s
  lateness: {LATENESS}s
  every: true
  after_match: skip-to-next
"""
_BOTH: Final = """\
on: [alert]
rules: {chaos-few: 40, chaos-many: 60, chaos-penalties: 60}
condition: severity != "info"
group_by: enterprise
window: {size: 60d, lateness: 30d}
trigger:
  score: {at_least: 100}
  distinct: {of: rule, at_least: 2}
episode: 60d
case: {key: enterprise}
joint: [public-security]
"""
RULES: Final[dict[str, str]] = {
    "chaos-few": _WINDOW.format(category="prepaid-card", at_least=4),
    "chaos-many": _WINDOW.format(category="prepaid-card", at_least=20),
    "chaos-penalties": _PENALTIES,
    "chaos-undecided": _UNDECIDED,
    "chaos-both": _BOTH,
}


def write(folder: Path) -> None:
    """The rules that a run begins with."""
    folder.mkdir(parents=True)
    for identifier, text in RULES.items():
        _put(folder / f"{identifier}.yaml", _HEAD.format(id=identifier) + text)


def add(folder: Path, number: int) -> None:
    """One more, which nothing in the stream concerns: its windows are empty, whenever it begins to run."""
    identifier = f"chaos-added-{number}"
    text = _WINDOW.format(category=f"added-{number}", at_least=2)
    _put(folder / f"{identifier}.yaml", _HEAD.format(id=identifier) + text)


def touch(folder: Path, target: int) -> None:
    """A comment more in one of them: all are loaded anew, and mean the same."""
    paths = sorted(folder.glob("*.yaml"))
    path = paths[target % len(paths)]
    _put(path, f"{path.read_text('utf-8')}# read again\n")


def _put(path: Path, text: str) -> None:
    """Whole or not at all, as an operator should."""
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    part.replace(path)
