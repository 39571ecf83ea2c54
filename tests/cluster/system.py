"""A whole cluster as an operator runs it: Kafka, a store, any number of `jianguan worker`, and `jianguan dashboards`.

    with Cluster(folder, kafka.bootstrap, store_url, folder_of_rules) as cluster:
        cluster.dashboards.start()
        first, second = cluster.worker().start(), cluster.worker().start()
        cluster.dashboards.send([...], "upload")      # HTTP intake, as in tests.end_to_end.support.System
        cluster.produce("complaints", [...])          # straight to a topic
        second.kill(); first.pause(); first.resume(); second.start()
        cluster.quiet()                               # everything sent has gone through every stage into the store
        cluster.stored()                              # ids by table; cluster.outcomes() counts steps of ingest
        expected(events, rules)                       # what the pure engine gives

All processes share one data folder, for the key of the reporter hash, and a topic prefix and a database of their own,
so that many clusters can use one Kafka and one store server, one after the other or at once.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from aiokafka import AIOKafkaProducer

from jianguan.domain.admission import Reference as Codes
from jianguan.domain.admission import admit_run, decode
from jianguan.domain.casework import CaseDesk
from jianguan.domain.event import Event, EventRun
from jianguan.errors import InputError, UnavailableError
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.tables import hash_key
from jianguan.wiring.takeover import READ
from rules.engine import Engine
from rules.facts import Matcher
from rules.reference import Reference, deadlines
from rules.ruleset import RuleSet
from sinks.server import ServerStore
from tests.cluster.child import Child
from tests.cluster.kafka import free_ports
from tests.end_to_end.support import IDENTIFIED, PROGRAM, START, STOP, System, environment, eventually, figure_in
from tests.streams.support import unique

PARTITIONS: Final = 8
SESSION: Final = 6  # seconds: how long a worker that was killed is waited for
SETTLED: Final = 1.5  # seconds in which nothing moves


class Worker(Child):
    """One `jianguan worker`. `start` may follow `stop` or `kill`."""

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        super().__init__(log)
        (self.metrics,) = free_ports(1)
        self._settings = dict(settings)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs, or before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> Self:
        """Start the process and wait until its metrics answer: the group has it soon after."""
        self.spawn()
        eventually(self._answers, START, f"a worker: {self.tail()}")
        return self

    def spawn(self) -> Self:
        """Start the process and do not wait: what it needs may not be there yet."""
        assert not self.running, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "worker", "--metrics-port", str(self.metrics)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self._settings),
                start_new_session=True,
            )  # fmt: skip
        return self

    def restored(self, times: int = 1, within: float = 60.0) -> Self:
        """Wait until it has restored the state of its partitions so often since its log began."""
        eventually(
            lambda: self.log.read_text("utf-8", "replace").count("of this worker are restored") >= times,
            within, f"restored {times} times: {self.tail()}",
        )  # fmt: skip
        return self

    def stop(self, within: float = STOP + 5) -> int:
        """SIGTERM; its exit code. Killed, and an AssertionError, when it takes too long."""
        self.signal(signal.SIGTERM)
        assert self._process is not None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not stop within {within:g} s: {self.tail()}") from None

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.signal(signal.SIGTERM)

    def wait(self, within: float) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process is not None
        return self._process.wait(within)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it has none yet."""
        return figure_in(httpx.get(f"http://127.0.0.1:{self.metrics}/metrics", trust_env=False).text, name)

    def _answers(self) -> bool:
        assert self.running, f"the worker ended: {self.tail()}"
        return _listens(self.metrics)


class Dashboards(System):
    """`jianguan dashboards`, driven like a system on one machine. It has no broker and no journal of its own."""

    def __init__(self, folder: Path, log: Path, settings: Mapping[str, str]) -> None:
        (self._port,) = free_ports(1)
        super().__init__(folder, port=self._port)
        self._settings = dict(settings)
        self.log = log
        self._arguments = ["dashboards", "--port", str(self._port)]

    def _address(self) -> str:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.tail()}"
        return f"http://127.0.0.1:{self._port}" if _listens(self._port) else ""


class Cluster:
    """One installation. `store` is the address of a ClickHouse server without a database."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        store: str,
        rules: Path,
        *,
        partitions: int = PARTITIONS,
        replication: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.bootstrap = bootstrap
        self.prefix = f"{unique('cluster')}."
        self.group = unique("group")
        self.partitions = partitions
        self.rules = rules
        self.url = f"{store.rstrip('/')}/{unique('db').replace('-', '_')}"
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.settings = {
            "JIANGUAN_BROKER": bootstrap,
            "JIANGUAN_STORE": self.url,
            "JIANGUAN_DATA": str(self.data),
            "JIANGUAN_RULES": str(rules),
            "JIANGUAN_TOPIC_PREFIX": self.prefix,
            "JIANGUAN_GROUP": self.group,
            "JIANGUAN_PARTITIONS": str(partitions),
            "JIANGUAN_REPLICATION": str(replication),
            "JIANGUAN_SESSION": f"PT{SESSION}S",
            **(settings or {}),
        }
        self.workers: list[Worker] = []
        self.dashboards = Dashboards(self.data, folder / "dashboards.log", self.settings)
        self._store: ServerStore | None = None

    def worker(self, **settings: str) -> Worker:
        """One more worker; not started."""
        made = Worker(self.folder / f"worker-{len(self.workers) + 1}.log", {**self.settings, **settings})
        self.workers.append(made)
        return made

    def produce(self, topic: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Straight to a topic, as another program would: plain JSON, the source and id as the key."""
        self.produce_raw(
            topic,
            [
                (f"{each.get('source')}/{each.get('id')}".encode(), json.dumps(each, ensure_ascii=False).encode())
                for each in events
            ],
        )

    def produce_raw(self, topic: str, records: Sequence[tuple[bytes, bytes]], partition: int | None = None) -> None:
        """The same for any keys and values, to one partition if need be; returns when the brokers have all of them."""

        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5)
            await producer.start()
            try:
                name = f"{self.prefix}{topic}"
                await asyncio.gather(
                    *[await producer.send(name, value, key=key, partition=partition) for key, value in records]
                )
            finally:
                await producer.stop()

        asyncio.run(send())

    def quiet(self, within: float = 120.0) -> None:
        """Wait until everything that was sent has gone through every stage into the store: the group has committed
        everything, records too, and nothing comes after it."""
        asyncio.run(self._quiet(within))

    async def _quiet(self, within: float) -> None:
        positions = GroupPositions(self.bootstrap, self.group, self.prefix, self.partitions)
        deadline = time.monotonic() + within
        since, before, lag = time.monotonic(), None, {}
        try:
            while True:
                try:
                    committed, ends = await positions.committed(READ), await positions.ends(READ)
                except UnavailableError:
                    committed, ends = {}, {("brokers", 0): 1}
                lag = {place: end - committed.get(place, 0) for place, end in ends.items()}
                lag = {place: left for place, left in lag.items() if left > 0}
                if lag or ends != before:
                    since, before = time.monotonic(), ends
                elif time.monotonic() - since >= SETTLED:
                    return
                logs = "".join([worker.tail(1_500) for worker in self.workers])
                assert time.monotonic() < deadline, f"not quiet within {within:g} s, left: {lag}; {logs}"
                await asyncio.sleep(0.1)
        finally:
            await positions.close()

    @property
    def store(self) -> ServerStore:
        """The store, to look into."""
        if self._store is None:
            self._store = ServerStore(self.url)
        return self._store

    def stored(self) -> dict[str, set[str]]:
        """The ids in the store by table."""
        return {table: {row[0] for row in self.store.query(f"SELECT DISTINCT id FROM {table}")} for table in IDENTIFIED}

    def outcomes(self) -> dict[str, int]:
        """How many records came to each end in the ingest stage."""
        rows = self.store.query("SELECT what, uniqExact(id) FROM trace FINAL WHERE stage = 1 GROUP BY what")
        return {str(what): int(count) for what, count in rows}

    def close(self) -> None:
        """Whatever the test did: nothing goes on running."""
        for worker in self.workers:
            worker.kill()
        self.dashboards.close()
        if self._store is not None:
            self._store.close()
        # Not by their numbers: those of workers that ended long ago may be other processes' by now.
        assert not [worker.pid for worker in self.workers if worker.running]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def expected(
    records: Iterable[bytes], rules: Path, reference: Reference, data: Path, now: int, topic: str = "complaints"
) -> dict[str, set[str]]:
    """The ids that the pure engine gives for these records, in this order: the first of an event counts. `data` has the
    key of the reporter hash; no case is closed meanwhile."""
    codes = Codes(reference.regions, reference.industries, hash_key(data))
    ruleset = RuleSet.load([rules], reference)
    events: dict[str, Event] = {}
    for record in records:
        try:
            (event,), _ = admit_run([decode(record, topic, "application/json", ())], codes, [now])
        except InputError:
            continue
        events.setdefault(event.id, event)
    found_by_rule = Matcher(ruleset, reference).facts_of(EventRun.of(list(events.values())))
    facts = [fact for each in found_by_rule for fact in each.facts.rows()]
    engine, desk = Engine(ruleset), CaseDesk(deadlines(reference))
    found: dict[str, set[str]] = {table: set() for table in IDENTIFIED}
    found["events"] = set(events)
    found["facts"] = {fact.id for fact in facts}
    for fact in facts:
        for alert in engine.add(fact, now).alerts:
            found["alerts"].add(alert.id)
            outcome = desk.add_alert(alert, now)
            found["cases"].update(case.id for case in outcome.records.cases)
            found["tasks"].update(task.id for task in outcome.records.tasks)
    return found


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True
