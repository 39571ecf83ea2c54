"""The rules that run, and their replacement: windows first, a bad file never, an approval as soon as it is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.trace import Step
from jianguan.domain.versions import Approval, Ledger, approved
from jianguan.errors import JianguanError, UnavailableError
from jianguan.metrics import Metrics
from rules.ruleset import RuleSet
from streams.rulebook import RuleBook
from tests.rules.support import NOW, reference, rule_file


class Memory:
    """A record in memory."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def ledger(self) -> Ledger:
        return Ledger(self.steps.values())

    def record(self, steps: Sequence[Step]) -> None:
        self.steps.update((step.id, step) for step in steps)


def write(folder: Path, **changes: Any) -> None:
    (folder / "a-rule.yaml").write_text(json.dumps(rule_file(**changes)), encoding="utf-8")


def book(folder: Path, record: Memory | None = None, people: int = 0) -> RuleBook:
    made = RuleBook([folder], reference(), VirtualClock(from_millis(NOW)), Metrics(CollectorRegistry()), record, people)
    made.load()
    return made


class Watched:
    """A rule book that is watched, and what its owner was told."""

    def __init__(self, rulebook: RuleBook) -> None:
        self.rulebook = rulebook
        self.told: list[tuple[str, int, int]] = []  # what, version told, version that runs at that moment
        self._more = asyncio.Event()

    def running(self) -> int:
        return self.rulebook.ruleset.rules[0].version

    async def changed(self, ruleset: RuleSet) -> None:
        self.told.append(("changed", ruleset.rules[0].version, self.running()))
        self._more.set()

    async def settled(self) -> None:
        self.told.append(("settled", self.running(), self.running()))
        self._more.set()

    async def until(self, wanted: int) -> None:
        """Watch until so many things were told."""
        task = asyncio.create_task(self.rulebook.watch(0.01, self.changed, self.settled))
        try:
            async with asyncio.timeout(10):
                while len(self.told) < wanted:
                    self._more.clear()
                    await self._more.wait()
        finally:
            task.cancel()


async def test_windows_are_told_before_the_conditions_are_swapped_and_again_afterwards(tmp_path: Path) -> None:
    write(tmp_path)
    watched = Watched(book(tmp_path))
    write(tmp_path, version=2, severity="low")
    await watched.until(2)
    assert watched.told == [("changed", 2, 1), ("settled", 2, 2)]


async def test_windows_know_when_their_rules_were_activated(tmp_path: Path) -> None:
    write(tmp_path)
    rulebook = book(tmp_path, Memory())
    seen: asyncio.Queue[int | None] = asyncio.Queue()

    async def changed(ruleset: RuleSet) -> None:
        seen.put_nowait(rulebook.activated_at("b-rule"))

    (tmp_path / "b-rule.yaml").write_text(json.dumps(rule_file(id="b-rule")), encoding="utf-8")
    task = asyncio.create_task(rulebook.watch(0.01, changed))
    async with asyncio.timeout(10):
        assert await seen.get() == NOW
    task.cancel()


async def test_what_waits_runs_once_it_is_approved(tmp_path: Path) -> None:
    write(tmp_path)
    record = Memory()
    book(tmp_path, record, 2)
    write(tmp_path, version=2, severity="low")
    rulebook = book(tmp_path, record, 2)
    assert rulebook.ruleset.rules[0].version == 1
    (waiting,) = rulebook.waiting
    watched = Watched(rulebook)
    for person in ("wang", "li"):
        assert watched.told == []
        record.record([approved(Approval("a-rule", waiting.rule.content_hash, person, "ok", NOW))])
    await watched.until(2)
    assert rulebook.ruleset.rules[0].version == 2
    assert rulebook.waiting == ()


def test_without_a_record_every_file_runs(tmp_path: Path) -> None:
    write(tmp_path)
    rulebook = book(tmp_path, None, 2)
    assert (rulebook.waiting, rulebook.activated_at("a-rule")) == ((), None)


def test_an_old_version_that_no_longer_loads_is_an_error_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path)
    record = Memory()
    book(tmp_path, record, 1)
    (step,) = record.steps.values()
    record.steps[step.id] = step._replace(detail=step.detail.replace("category ==", "catgory =="))
    write(tmp_path, version=2)
    with pytest.raises(JianguanError, match="no field catgory"):
        book(tmp_path, record, 1)


def test_a_version_is_ahead_until_it_or_a_later_one_has_run_here(tmp_path: Path) -> None:
    write(tmp_path, version=2)
    rulebook = book(tmp_path)
    name = rulebook.ruleset.rules[0].id
    assert [rulebook.is_ahead(name, version) for version in (1, 2, 3)] == [False, False, True]
    assert rulebook.is_ahead("never-heard-of", 1)


async def test_rules_that_were_changed_while_the_record_was_away_run_when_it_is_back(tmp_path: Path) -> None:
    write(tmp_path)
    record = Memory()
    watched = Watched(book(tmp_path, record))
    asked = 0

    def away() -> Ledger:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise UnavailableError("no store")
        return Ledger(record.steps.values())

    record.ledger = away  # type: ignore[method-assign]
    write(tmp_path, version=2, severity="low")
    await watched.until(2)
    assert watched.told == [("changed", 2, 1), ("settled", 2, 2)]
    assert watched.rulebook.error == ""


async def test_windows_that_cannot_be_filled_now_leave_the_old_rules_and_are_asked_again(tmp_path: Path) -> None:
    write(tmp_path)
    rulebook = book(tmp_path, Memory())
    watched, tries = Watched(rulebook), 0

    async def changed(ruleset: RuleSet) -> None:
        nonlocal tries
        tries += 1
        if tries <= 3:
            assert watched.running() == 1
            raise UnavailableError("no store")
        await Watched.changed(watched, ruleset)

    watched.changed = changed  # type: ignore[method-assign]
    write(tmp_path, version=2, severity="low")
    await watched.until(2)
    assert tries == 4
    assert watched.told == [("changed", 2, 1), ("settled", 2, 2)]


@pytest.mark.parametrize("change", ["saved", "removed", "not text"])
def test_the_text_that_is_recorded_of_a_rule_is_the_one_that_runs_though_its_file_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write(tmp_path)
    load, record = RuleSet.load, Memory()
    reads = 0

    def read(*arguments: Any) -> RuleSet:
        nonlocal reads
        reads += 1
        if reads == 2:
            write(tmp_path, version=2)
        found = load(*arguments)
        if reads == 1:
            file = tmp_path / "a-rule.yaml"
            if change == "removed":
                file.unlink()
            elif change == "saved":
                write(tmp_path, version=2)
            else:
                file.write_bytes(b"\xff")
        return found

    monkeypatch.setattr(RuleSet, "load", read)
    rulebook = book(tmp_path, record)
    assert [rule.version for rule in rulebook.ruleset] == [2]
    texts = [json.loads(step.detail)["text"] for step in record.steps.values()]
    assert [json.loads(text)["version"] for text in texts] == [2]
