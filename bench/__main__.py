"""Everything that this project promises about speed, measured in one go: `make bench`.

    python -m bench [--events 200000] [--repeats 3] [--seconds 30] [--history 10000000] [--json FILE] [--smoke]

Four variants take the same events, each in a process of its own on one core, with the broker on another:
(a) `event`, an idiomatic Faust agent an event with JSON decoding and a window in memory; (b) `table`, the same with the
window in a Faust Table; (c) `batch`, the batch transport alone, and `batch-window`, which also decodes and keeps (a)'s
window; (d) `whole-path`, this system from topic to ClickHouse with the shipped rules. The variants take turns, so that
a busy machine slows all of them; what is printed are medians and ratios. Then bench.latency, bench.engine and
bench.backtest run once each: the last two say what the rules alone take, with many rules and over a long history.

`events_per_cpu_second` is what one core would do that has nothing else to do: on a machine that others use too it is
the figure to compare. With `--smoke` everything runs once and small, and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import backtest, engine
from bench.transport import SHARE, VARIANTS, in_a_process, produce, start_beside
from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker

WHOLE_PATH: Final = "whole-path"
BASE: Final = "event"
LETTERS: Final = {"event": "a", "table": "b", "batch": "c", "batch-window": "c+", WHOLE_PATH: "d"}
TARGETS: Final = {"batch": 8.0, WHOLE_PATH: 2.0}
MEASURED: Final = ("events_per_second", "cpu_seconds_per_100k", "peak_mb")


async def rounds(count: int, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """The results of every variant, a list of `repeats` each; the variants take turns."""
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in LETTERS}
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        broker = EmbeddedBroker(BrokerOptions(Path(folder)), SystemClock())
        address = await start_beside(broker)
        try:
            numbers = {variant: max(int(count * SHARE[variant]), 1_000) for variant in VARIANTS}
            for variant, number in numbers.items():
                await produce(address, variant, number)
            for turn in range(repeats):
                for variant, number in numbers.items():
                    found[variant].append(await in_a_process(variant, address, number))
                    say(turn, variant, found[variant][-1])
                found[WHOLE_PATH].append(await module("bench.whole_path", "--events", str(count)))
                say(turn, WHOLE_PATH, found[WHOLE_PATH][-1])
        finally:
            await broker.stop()
    return found


async def module(name: str, *arguments: str) -> dict[str, Any]:
    """What a benchmark module prints, run in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", name, *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}")
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def say(turn: int, variant: str, result: Mapping[str, Any]) -> None:
    """Progress, to the standard error."""
    cpu = result["cpu_seconds_per_100k"]
    sys.stderr.write(f"round {turn + 1}: {variant}: {cpu:.2f} CPU s per 100,000, load {os.getloadavg()[0]:.1f}\n")


def summary(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians by variant, and how many times as much an event costs in (a)."""
    medians: dict[str, dict[str, Any]] = {
        variant: {key: round(statistics.median(float(run[key]) for run in runs), 2) for key in MEASURED}
        for variant, runs in found.items()
    }
    base = medians[BASE]
    for variant, result in medians.items():
        result["events_per_cpu_second"] = round(100_000 / result["cpu_seconds_per_100k"])
        result["times_event_by_cpu"] = round(base["cpu_seconds_per_100k"] / result["cpu_seconds_per_100k"], 2)
        result["times_event_by_wall"] = round(result["events_per_second"] / base["events_per_second"], 2)
        # Rounds are compared one by one too: the machine may have been busier in one than in another.
        result["times_event_by_round"] = [
            round(float(first["cpu_seconds_per_100k"]) / float(run["cpu_seconds_per_100k"]), 2)
            for first, run in zip(found[BASE], found[variant], strict=True)
        ]
    return medians


def table(medians: Mapping[str, Mapping[str, Any]], latency: Mapping[str, Any]) -> str:
    """The figures for a person."""
    heads = ("events/s", "events/CPU s", "CPU s/100k", "peak MB", "times (a)", "to reach")
    lines = [f"{'':18}" + "".join(f"{head:>14}" for head in heads)]
    for variant, letter in LETTERS.items():
        result = medians[variant]
        target = f">= {TARGETS[variant]:g}" if variant in TARGETS else ""
        cells = (
            f"{result['events_per_second']:,.0f}",
            f"{result['events_per_cpu_second']:,}",
            f"{result['cpu_seconds_per_100k']:.2f}",
            f"{result['peak_mb']:.0f}",
            f"{result['times_event_by_cpu']:.2f}",
            target,
        )
        lines.append(f"({letter}) {variant:<{14 - len(letter) + 1}}" + "".join(f"{cell:>14}" for cell in cells))
    accepted = latency["accepted_to_webhook_ms"]
    lines.append(
        f"latency at {latency['rate']:g} events/s, accepted to webhook: p50 {accepted['p50']:g} ms (< 60), "
        f"p99 {accepted['p99']:g} ms (< 250), {latency['alerts']} alerts"
    )
    return "\n".join(lines) + "\n"


def rules_table(rules: Mapping[str, Any], history: Mapping[str, Any]) -> str:
    """What the rules alone take, for a person."""
    lines = []
    made = rules["made"]
    for result in (*made, rules["library"]):
        name = "shipped" if result is rules["library"] else "made-up"
        target = ""
        if result is made[0]:
            target = f" (>= {engine.FASTEST:,})"
        elif result is made[-1]:
            target = f", {result['times_as_costly']:g} times what {made[0]['rules']:,} cost (<= {engine.DEAREST:g})"
        lines.append(
            f"engine alone, {result['rules']:,} {name} rules: {result['events_per_second_both']:,} events/CPU s,"
            f" {result['facts_per_event']:g} facts an event{target}"
        )
    for name in ("counting", "settled"):
        held = rules[f"memory_{name}"]
        lines.append(
            f"{held['windows']:,} windows of three facts of a {name} rule: {held['mb']:,} MB (<= {engine.MOST_MB})"
        )
    lines.append(
        f"one rule tried on {history['events']:,} stored events: {history['seconds']:g} s,"
        f" {history['cpu_seconds']:g} of the processor (10,000,000 in <= {backtest.TARGET_SECONDS:g})"
    )
    return "\n".join(lines) + "\n"


async def everything(arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    before = os.getloadavg()[0]
    medians = summary(await rounds(arguments.events, arguments.repeats))
    latency = await module("bench.latency", "--rate", str(arguments.rate), "--seconds", str(arguments.seconds))
    rules = await module("bench.engine", *arguments.engine)
    history = await module("bench.backtest", "--events", str(arguments.history))
    load = {"before": round(before, 1), "after": round(os.getloadavg()[0], 1)}
    sys.stdout.write(table(medians, latency))
    sys.stdout.write(rules_table(rules, history))
    return {
        "cores": os.cpu_count(),
        "load": load,
        "throughput": medians,
        "latency": latency,
        "rules": rules,
        "backtest": history,
    }


def main() -> None:
    """Parse arguments, measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--history", type=int, default=10_000_000, help="stored events that a rule is tried on")
    parser.add_argument("--json", type=Path, help="write the JSON into this file too")
    parser.add_argument("--smoke", action="store_true", help="small and once: only whether everything runs")
    arguments = parser.parse_args()
    arguments.engine = []
    if arguments.smoke:
        arguments.events, arguments.repeats, arguments.rate, arguments.seconds = 2_000, 1, 40.0, 4.0
        arguments.history = 20_000
        arguments.engine = ["--events", "2000", "--rules", "30", "300", "--windows", "10000", "--repeats", "1"]
    result = json.dumps(uvloop.run(everything(arguments)))
    sys.stdout.write(result + "\n")
    if arguments.json:
        arguments.json.write_text(result + "\n")


if __name__ == "__main__":
    main()
