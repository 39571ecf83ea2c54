"""The same job by this system and by its peers, side by side in one run: `make bench-peers`.

    python -m bench.peers [--events 200000] [--repeats 3] [--peers NAME,…] [--broker HOST:PORT] [--json FILE]
                          [--no-restart] [--smoke]

The job is in job.py: decode, ten predicates, a sliding count of sixty minutes of event time for each enterprise, an
alert when it comes to five, at most one an hour. All take the same events from the same broker, each in a process of
its own on one core, the broker (embedded, unless `--broker` names a Kafka) on another. They take turns, and medians are
printed. Each one's alerts are compared with those of the oracle. Once each that keeps state is killed with kill -9
halfway and started again (as often as it ends by itself with an error, as a supervisor would), and the alerts of all
its processes together are compared.

The targets are judged by processor time from the first event to the last alert: on a machine that others use too,
events a second say more about the others.

| peer | how it is set up | what it does not offer |
|---|---|---|
| `jianguan` | batch transport, compiled rule, windows folded from the facts topic (ours.py, `rule`) | |
| `jianguan-stages` | the same with the ingest stage of a worker: contract, codes, duplicates, trace (`stages`) | |
| `faust-table` | an agent an event, a Table in RocksDB with changelog (faust_table.py) | sliding windows: its own hop |
| `quixstreams` | a dataframe, state in RocksDB with changelog (quix.py) | a quick exact sliding window of its own |
| `bytewax` | batches, a stateful step, the recovery store (bytewax_recovery.py) | positions in the group |
| `pathway` | an interval join, persistence (pathway_persistent.py) | positions in the group; windows without hops |
| `aiokafka` | a bare loop, uvloop: a practical limit | state that survives its process |
| `confluent-kafka` | a bare loop on librdkafka: a practical limit | state that survives its process |

`jianguan`, `bytewax` and the bare loops decode with msgspec into the fields that the job reads, `jianguan-stages` with
its quick decoder into the whole contract, the others with the JSON codec of their own.
Peers are installed with pinned versions into a cache folder at the first run
(environments.py). With `--smoke` what needs no further environment runs once and small, and figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.peers.environments import NotInstalledError, interpreter
from bench.peers.running import Feed, Peer, PeerFailedError, broker, fill, frame, here, make_events, measure, restart

OURS: Final = "jianguan"
FAUST: Final = "faust-table"
LIMIT: Final = "aiokafka"
PEERS: Final = (
    Peer(OURS, "ours", None, True, arguments=("rule",), decode=frame),
    Peer("jianguan-stages", "ours", None, True, 0.5, arguments=("stages",), decode=frame),
    Peer(FAUST, "faust_table", "faust", True, 0.1),
    Peer("quixstreams", "quix", "quixstreams", True, 0.25),
    Peer("bytewax", "bytewax_recovery", "bytewax", True),
    Peer("pathway", "pathway_persistent", "pathway", True, 0.25),
    Peer(LIMIT, "bare_aiokafka", None, False),
    Peer("confluent-kafka", "bare_confluent", "confluent-kafka", False),
)
MEASURED: Final = ("events_per_second", "cpu_seconds_per_100k", "peak_mb")
SMOKE: Final = 4_000
LEAST: Final = 2_000


async def compare(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Results by peer: medians, alerts, and what a restart gave; `error` alone for one that could not be installed."""
    chosen = [peer for peer in PEERS if not options.peers or peer.name in options.peers.split(",")]
    if options.smoke:
        chosen = [peer for peer in chosen if peer.environment is None]
    found: dict[str, dict[str, Any]] = {}
    pythons: dict[str, Path] = {}
    for peer in chosen:
        try:
            pythons[peer.name] = here() if peer.environment is None else await interpreter(peer.environment)
        except NotInstalledError as error:
            found[peer.name] = {"error": str(error)}
    made = make_events(options.events)
    async with broker(options.broker) as address:
        feeds: dict[int, Feed] = {}
        mine: dict[str, Feed] = {}
        for peer in chosen:
            count = max(int(options.events * (1.0 if options.smoke else peer.share)), LEAST)
            if count not in feeds:
                feeds[count] = await fill(address, made[:count], f"peers-{os.getpid()}-{count}")
            mine[peer.name] = feeds[count]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
        for turn in range(options.repeats):
            for peer in [each for each in chosen if each.name in runs]:
                try:
                    run = await measure(peer, pythons[peer.name], address, mine[peer.name])
                except PeerFailedError as error:
                    found[peer.name] = {"error": str(error)}
                    del runs[peer.name]
                    continue
                runs[peer.name].append(run)
                say(f"round {turn + 1}", peer, run)
        for peer in [each for each in chosen if each.name in runs]:
            found[peer.name] = summary(runs[peer.name], mine[peer.name])
            if peer.recoverable and not options.no_restart:
                try:
                    again = await restart(peer, pythons[peer.name], address, mine[peer.name])
                except PeerFailedError as error:
                    again = {"error": str(error)}
                found[peer.name]["restart"] = again
                say("restart", peer, again)
    return found


def say(what: str, peer: Peer, result: Mapping[str, Any]) -> None:
    """Progress, to the standard error."""
    sys.stderr.write(f"{what}: {peer.name}: {json.dumps(result)}, load {os.getloadavg()[0]:.1f}\n")


def summary(runs: Sequence[Mapping[str, Any]], feed: Feed) -> dict[str, Any]:
    """Medians, and the alerts of the worst run."""
    worst = max(runs, key=lambda run: (run["missing"] + run["wrong"], run["repeated"]))
    medians: dict[str, Any] = {key: round(statistics.median(run[key] for run in runs), 3) for key in MEASURED}
    alerts = {key: worst[key] for key in ("alerts_due", "alerts", "missing", "wrong", "repeated", "equal")}
    cpu = [round(run["cpu_seconds_per_100k"], 3) for run in runs]
    return {"events": feed.count, "mean_bytes": round(feed.mean_bytes), **medians, "cpu_by_round": cpu, **alerts}


def times(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """By peer: how many times the processor time of this system's an event takes there."""
    if "cpu_seconds_per_100k" not in found.get(OURS, {}):
        return {}
    base = found[OURS]["cpu_seconds_per_100k"]
    return {
        name: round(result["cpu_seconds_per_100k"] / base, 2)
        for name, result in found.items()
        if name != OURS and "error" not in result
    }


def targets(found: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    """What is to be reached, and whether it was."""
    ratios = times(found)
    keeping = [
        ratio for peer in PEERS
        if peer.recoverable and peer.environment and (ratio := ratios.get(peer.name)) is not None
    ]  # fmt: skip
    reached: dict[str, bool] = {}
    if keeping:
        reached["ahead of every peer that keeps state"] = min(keeping) > 1
    if FAUST in ratios:
        reached["at least 15 times idiomatic Faust with a Table"] = ratios[FAUST] >= 15
    if LIMIT in ratios:
        reached["at least half of the bare aiokafka loop"] = ratios[LIMIT] >= 0.5
    return reached


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures for a person, in Markdown."""
    lines = [
        "| | state survives | events/s | events a CPU s | CPU s per 100,000 | peak MB | times ours "
        "| alerts, of those due | after kill -9 |",
        "|---|---|---:|---:|---:|---:|---:|---|---|",
    ]
    ratios = times(found)
    for peer in PEERS:
        result = found.get(peer.name)
        if result is None:
            continue
        if "error" in result:
            lines.append(f"| {peer.name} | failed: {result['error'].splitlines()[-1]} |")
            continue
        ratio = f"{ratios[peer.name]:.2f}" if peer.name in ratios else ""
        again = _alerts(result["restart"]) if "restart" in result else ""
        lines.append(
            f"| {peer.name} | {'yes' if peer.recoverable else 'no'} | {result['events_per_second']:,.0f} "
            f"| {100_000 / result['cpu_seconds_per_100k']:,.0f} | {result['cpu_seconds_per_100k']:.2f} "
            f"| {result['peak_mb']:.0f} | {ratio} | {_alerts(result)} | {again} |"
        )
    return "\n".join(lines)


def _alerts(result: Mapping[str, Any]) -> str:
    if "error" in result:
        return f"failed: {result['error'].splitlines()[-1]}"
    text = f"{result['alerts']} of {result['alerts_due']}"
    if result.get("failed_starts"):
        text += f", after {result['failed_starts']} starts that failed"
    if result["equal"]:
        return f"equal, {text}" + (f", {result['repeated']} sent again" if result["repeated"] else "")
    return f"**not equal**, {text}: {result['missing']} missing, {result['wrong']} wrong"


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", default="", help="comma-separated, of " + ", ".join(peer.name for peer in PEERS))
    parser.add_argument("--broker", help="host:port of a Kafka; default: the embedded broker")
    parser.add_argument("--json", type=Path, help="write the results there too")
    parser.add_argument("--no-restart", action="store_true", help="leave out kill -9 and restart")
    parser.add_argument("--smoke", action="store_true", help="small, and only what needs no further environment")
    options = parser.parse_args()
    unknown = {name for name in options.peers.split(",") if name} - {peer.name for peer in PEERS}
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}")
    if options.smoke:
        options.events, options.repeats = SMOKE, 1
    found = uvloop.run(compare(options))
    result = {"results": found, "cpu_times_ours": times(found), "targets": targets(found)}
    print(table(found))
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.smoke and not all(
        each.get("equal") and each.get("restart", each).get("equal") for each in found.values()
    ):
        raise SystemExit("a program failed, or its alerts differ from the oracle's")


if __name__ == "__main__":
    main()
