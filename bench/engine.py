"""How many events a second the rules take on one core: matcher and engine alone, no I/O, no stages.

    python -m bench.engine [--events 200000] [--seed 1] [--rules 30 300 3000 10000] [--windows 1000000] [--repeats 3]

Prints one line of JSON. `made` has, for each number of made-up rules (see bench.made_rules), events a second of
processor time for matching, for the engine on the facts, and for both; the least time of the repeats counts, which
take turns. `times_as_costly` is what an event costs compared with the first number of rules. `library` is the same with
the shipped rules. `memory` is what a million windows of three facts take of the machine, measured from outside Python,
of a rule that counts and of one that the clock settles. Events are validated ones and come in runs, as live.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.made_rules import START, for_rules, make_events, make_rules
from jianguan.domain.event import Event, EventRun
from jianguan.domain.fact import Fact, FactRun
from rules.activation import rule_of
from rules.engine import Engine
from rules.facts import Matcher
from rules.keys import carry
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet

RULES: Final = (30, 300, 3_000, 10_000)
FASTEST: Final = 100_000  # events a second with the first number of rules
DEAREST: Final = 5.0  # times what an event costs with the first number of rules, with the last one
MOST_MB: Final = 800  # of a million windows
_RUN: Final = 1_000
_COUNTS: Final = "expired-food"  # a shipped rule
_SETTLED: Final = """\
id: settled
version: 1
title: {zh: 测量用规则, en: A rule for measuring}
owner: market-regulation
legal_basis: 《中华人民共和国消费者权益保护法》第三十九条
on: [complaint]
condition: present(amount_fen)
group_by: enterprise
window: {size: 7d, lateness: 1d}
trigger:
  avg: {of: amount_fen, at_least: 1000}
severity: high
case: {key: enterprise}
lead: market-regulation
"""


def match(matcher: Matcher, runs: Sequence[EventRun]) -> list[FactRun]:
    """Facts of all events."""
    return [found.facts for run in runs for found in matcher.facts_of(run)]


def add(engine: Engine, facts: Sequence[FactRun]) -> int:
    """Alerts of all facts."""
    return sum(len(decision.alerts) for run in facts for _, decision in engine.add_run(run, START))


def both(matcher: Matcher, engine: Engine, runs: Sequence[EventRun]) -> int:
    """Alerts of all events, a run at a time, and of what the clock settles meanwhile."""
    alerts = 0
    for run in runs:
        for found in matcher.facts_of(run):
            alerts += sum(len(decision.alerts) for _, decision in engine.add_run(found.facts, START))
        alerts += len(engine.elapse(run[-1].received_at))
    return alerts


class Measured:
    """A rule set and its events; each call of `once` measures all of it again."""

    def __init__(self, ruleset: RuleSet, reference: Reference, events: Sequence[Event]) -> None:
        self.rules = len(ruleset.running)
        self._ruleset = ruleset
        self._events = len(events)
        self._runs = [EventRun.of(events[first : first + _RUN]) for first in range(0, len(events), _RUN)]
        started = time.process_time()
        self._matcher = Matcher(ruleset, reference)
        self._compiled = time.process_time() - started
        self._matching: list[float] = []
        self._adding: list[float] = []
        self._both: list[float] = []
        self._facts = self._alerts = self._keys = 0

    def once(self) -> None:
        """Matching, the engine on what it gave, and both together."""
        gc.collect()
        started = time.process_time()
        facts = match(self._matcher, self._runs)
        matched = time.process_time()
        add(Engine(self._ruleset), facts)
        added = time.process_time()
        self._facts = sum(map(len, facts))
        del facts
        engine = Engine(self._ruleset)
        gc.collect()
        again = time.process_time()
        self._alerts = both(self._matcher, engine, self._runs)
        done = time.process_time()
        self._keys = len(engine)
        self._matching.append(matched - started)
        self._adding.append(added - matched)
        self._both.append(done - again)

    def result(self) -> dict[str, Any]:
        """The figures."""
        return {
            "rules": self.rules,
            "events": self._events,
            "events_per_second_matching": round(self._events / min(self._matching)),
            "facts_per_second_engine": round(self._facts / min(self._adding)),
            "events_per_second_both": round(self._events / min(self._both)),
            "facts_per_event": round(self._facts / self._events, 3),
            "alerts_per_thousand_events": round(1000 * self._alerts / self._events, 2),
            "windows": self._keys,
            "seconds_to_compile": round(self._compiled, 2),
        }


def throughput(counts: Sequence[int], events: int, seed: int, repeats: int) -> dict[str, Any]:
    """Events a second with the shipped rules and with each number of made-up ones."""
    reference = Reference.packaged()
    made = make_events(events, seed)
    library = Measured(RuleSet.load([RuleSet.library_path()], reference), reference, made)
    measured = [Measured(make_rules(count, reference), reference, for_rules(made, count, seed)) for count in counts]
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)  # as live
    for turn in range(repeats):
        for each in (library, *measured):
            each.once()
            sys.stderr.write(f"round {turn + 1}: {each.rules} rules, load {os.getloadavg()[0]:.1f}\n")
    results = [each.result() for each in measured]
    for result in results:
        times = results[0]["events_per_second_both"] / result["events_per_second_both"]
        result["times_as_costly"] = round(times, 2)
    return {"made": results, "library": library.result()}


def facts_of(rule: Rule, keys: int) -> Iterator[Fact]:
    """Three facts for each of so many keys, each with texts of its own, as they come from a topic."""
    carried = None if rule.judging is None else carry(0, [500 for _ in rule.judging.carried])
    for number in range(keys * 3):
        yield Fact(
            f"ft-{number:024x}", rule.id, rule.version, f"uscc:{number // 3:018d}", START + number % 3,
            f"ev-{number:024x}", START, None, None, None, None, None, None, "other", carried,
        )  # fmt: skip


def bytes_a_key(rule: Rule, keys: int = 50_000) -> float:
    """Memory of a key with three facts, everything counted that Python allocates."""
    engine = Engine(RuleSet([rule]))
    tracemalloc.start()
    engine.fold(facts_of(rule, keys))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / keys


def memory(rule: Rule, keys: int) -> dict[str, Any]:
    """What so many windows of three facts add to this process, MB; and how long they take to fold in."""
    engine = Engine(RuleSet([rule]))
    gc.disable()
    before, started = resident(), time.process_time()
    engine.fold(facts_of(rule, keys))
    used = resident() - before
    return {
        "windows": len(engine),
        "mb": round(used / 2**20),
        "bytes_a_window": round(used / keys),
        "cpu_seconds_to_fold": round(time.process_time() - started, 1),
    }


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def in_processes(arguments: Sequence[str]) -> dict[str, Any]:
    """Everything, each part in a process of its own, so that none measures what another left behind."""
    result: dict[str, Any] = {}
    for part in ("throughput", "counting", "settled"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.engine", "--part", part, *arguments, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise SystemExit(f"bench.engine --part {part} ended with {process.returncode}")
        result |= json.loads(output.splitlines()[-1])
    return result


def part_of(options: argparse.Namespace) -> dict[str, Any]:
    """One part."""
    if options.part == "throughput":
        return throughput(options.rules, options.events, options.seed, options.repeats)
    reference = Reference.packaged()
    if options.part == "settled":
        return {"memory_settled": memory(rule_of(_SETTLED, reference), options.windows)}
    rule = RuleSet.load([RuleSet.library_path()], reference).by_id(_COUNTS)
    assert rule is not None
    return {"memory_counting": memory(rule, options.windows)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rules", type=int, nargs="+", default=list(RULES))
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=["throughput", "counting", "settled"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    result = part_of(options) if options.part else asyncio.run(in_processes(sys.argv[1:]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
