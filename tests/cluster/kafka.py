"""Apache Kafka for tests: one node or several, each a process that can be killed, stopped, continued and started again.

    with KafkaCluster(folder, nodes=3) as kafka:
        kafka.start()
        kafka.bootstrap  # "127.0.0.1:41001,127.0.0.1:41002,127.0.0.1:41003"
        kafka.nodes[0].kill()  # -9; its data stay
        kafka.nodes[0].start()  # on the same ports and data
        kafka.nodes[1].pause()  # SIGSTOP
        kafka.nodes[1].resume()

    with KafkaCluster(folder, listeners={"TEAM": "SASL_SSL"}, settings={…}) as kafka:
        kafka.start().address("TEAM")  # beside the plain one

Every node is broker and controller (KRaft), listens on loopback alone and dies with the process that started it.
Topics are never created by themselves. Waiting is for what a node itself says in its log.

The jars are those of pom.xml beside this, copied from Maven Central once into a folder outside the checkout by
`make kafka`; KAFKA_HOME names an unpacked Kafka to use in their place. Nothing is downloaded here otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CoordinatorLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorError

from jianguan.embedded import die_with_parent
from tests.cluster.child import Child

POM: Final = Path(__file__).with_name("pom.xml")
START: Final = 60.0  # seconds that a start may take on a busy machine
STOP: Final = 20.0
PORTS: Final = range(19_000, 29_000)
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
_COMPLETE: Final = "complete"  # written last into the folder of the jars
_STARTED: Final = "Kafka Server started"
_TOPOLOGY: Final = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"


class KafkaUnavailableError(Exception):
    """Kafka cannot be started here; the reason, for whoever skips a test."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A Java and the jars of Kafka."""

    java: str
    jars: Path

    def command(self, main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs the class `main` with `arguments`; `options` are Java's."""
        return [self.java, *options, "-cp", f"{self.jars}/*", main, *arguments]


def version() -> str:
    """The version of Kafka that pom.xml asks for."""
    found = ElementTree.parse(POM).findtext(
        "m:properties/m:kafka.version", namespaces={"m": "http://maven.apache.org/POM/4.0.0"}
    )
    assert found, f"{POM} has no kafka.version"
    return found


def cache() -> Path:
    """Where `make kafka` puts the jars: outside of the checkout, so that every checkout shares them."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "jianguan-tests" / f"kafka-{version()}"


def find() -> Distribution:
    """The Kafka of this machine. Raises KafkaUnavailableError with what is missing."""
    java = shutil.which("java")
    if java is None:
        raise KafkaUnavailableError("java is not installed; Kafka needs 17 or newer")
    home = os.environ.get("KAFKA_HOME")
    if home:
        jars = Path(home) / "libs"
        if not list(jars.glob("kafka_*.jar")):
            raise KafkaUnavailableError(f"KAFKA_HOME={home} has no libs/kafka_*.jar")
        return Distribution(java, jars)
    jars = cache()
    if not (jars / _COMPLETE).is_file():
        raise KafkaUnavailableError(f"there are no jars in {jars}; run `make kafka`, or set KAFKA_HOME")
    return Distribution(java, jars)


def install() -> Path:
    """Copy the jars (43 MB) with Maven, unless they are there; their folder. Raises KafkaUnavailableError."""
    target = cache()
    if (target / _COMPLETE).is_file():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailableError("mvn is not installed; install Maven, or set KAFKA_HOME to an unpacked Kafka")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}")
    command = [maven, "-B", "-q", "-f", str(POM), _PLUGIN, f"-DoutputDirectory={part}", "-DincludeScope=runtime"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        shutil.rmtree(part, ignore_errors=True)
        raise KafkaUnavailableError(f"Maven did not give Kafka {version()}: {(ended.stdout + ended.stderr)[-2000:]}")
    (part / _COMPLETE).touch()
    try:
        part.rename(target)
    except OSError:  # another checkout was quicker
        shutil.rmtree(part, ignore_errors=True)
    return target


class KafkaNode(Child):
    """One process: broker and controller. `start` may follow `kill` or `stop`; ports and data stay."""

    def __init__(
        self,
        kafka: Distribution,
        folder: Path,
        number: int,
        port: int,
        controller: int,
        heap: int,
        listeners: Mapping[str, int],
    ) -> None:
        """`port` for clients, `controller` for the other nodes, `heap` in MiB, `listeners` with the port of each."""
        super().__init__(folder / "kafka.log")
        self.number = number
        self.listeners = listeners
        self.port = port
        self.controller = controller
        self.config = folder / "server.properties"
        self.data = folder / "data"
        self._kafka = kafka
        self._heap = heap
        self._said = 0  # size of the log when it was started last

    def format(self, cluster: str, settings: Mapping[str, str], users: Sequence[str]) -> None:
        """Write the configuration and prepare the storage, and users in it, with Kafka's own tool."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text("".join([f"{name}={value}\n" for name, value in settings.items()]))
        added = [part for user in users for part in ("--add-scram", user)]
        command = self._kafka.command(
            "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self.config), *added, options=self._java(64)
        )
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"the storage of node {self.number} was not formatted: {ended.stdout}{ended.stderr}")

    def spawn(self) -> None:
        """Start the process and do not wait."""
        assert not self.running, f"node {self.number} runs already"
        self._said = self.log.stat().st_size if self.log.exists() else 0
        guard = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        command = self._kafka.command("kafka.Kafka", str(self.config), options=self._java(self._heap))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, within: float = START) -> None:
        """Wait until it says that it serves; RuntimeError with the end of its log when it does not."""
        deadline = time.monotonic() + within
        while not self._serves():
            if not self.running:
                raise RuntimeError(f"node {self.number} ended while it started: {self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"node {self.number} did not start within {within:g} s: {self.tail()}")
            time.sleep(0.05)

    def start(self) -> None:
        """Start the process and wait until it serves. One of several needs a majority of them to run."""
        self.spawn()
        self.wait()

    def stop(self) -> None:
        """Ask it to end, in order: its partitions move to other nodes first. Killed when it takes too long."""
        if self.running:
            self.resume()
            self.signal(signal.SIGTERM)
            assert self._process is not None
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.kill()

    def _serves(self) -> bool:
        with self.log.open("rb") as log:
            log.seek(self._said)
            return _STARTED.encode() in log.read()

    def _java(self, heap: int) -> list[str]:
        # For a short life on few processors: small heap, the plain collector, only the quick compiler.
        return [
            f"-Xmx{heap}m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            "-Djava.awt.headless=true",
            "-Dlog4j2.disableJmx=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ]


async def leads_groups(bootstrap: str, within: float = 60.0) -> None:
    """Wait until groups are led here: a new broker serves before it has made the topic of their offsets.
    TimeoutError."""
    async with asyncio.timeout(within):
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            while True:
                with suppress(GroupCoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
                    await admin.list_consumer_group_offsets("any")
                    return
                await asyncio.sleep(0.1)
        finally:
            await admin.close()


class KafkaCluster:
    """Nodes that know each other. `start` formats them the first time."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        *,
        heap: int = 256,
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        users: Sequence[str] = (),
    ) -> None:
        """`folder` takes data and logs; `settings` are a broker's, for every node. `listeners` for clients beside the
        plain one, with the protocol of each; `users` as Kafka's tool for storage takes them with --add-scram.

        Raises KafkaUnavailableError when Kafka is not here.
        """
        kafka = find()
        self._settings = dict(settings or {})
        self._listeners = dict(listeners or {})
        self._users = users
        ports = iter(free_ports((2 + len(self._listeners)) * nodes))
        self.nodes = [
            KafkaNode(
                kafka,
                folder / f"node-{number}",
                number,
                next(ports),
                next(ports),
                heap,
                {name: next(ports) for name in self._listeners},
            )
            for number in range(1, nodes + 1)
        ]
        self._formatted = False

    @property
    def bootstrap(self) -> str:
        """The addresses for clients."""
        return ",".join([f"127.0.0.1:{node.port}" for node in self.nodes])

    def address(self, listener: str) -> str:
        """The addresses of one of the listeners that were asked for."""
        return ",".join([f"127.0.0.1:{node.listeners[listener]}" for node in self.nodes])

    @property
    def replication(self) -> int:
        """How many replicas a topic can have here."""
        return min(3, len(self.nodes))

    def start(self) -> Self:
        """Start every node that does not run, and wait until all serve."""
        if not self._formatted:
            cluster = _cluster_id()
            for node in self.nodes:
                node.format(cluster, self._config(node), self._users)
            self._formatted = True
        stopped = [node for node in self.nodes if not node.running]
        for node in stopped:
            node.spawn()
        for node in stopped:
            node.wait()
        return self

    def stop(self) -> None:
        """End every node, at once: nothing in it is wanted any more."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _config(self, node: KafkaNode) -> dict[str, str]:
        voters = ",".join([f"{each.number}@127.0.0.1:{each.controller}" for each in self.nodes])
        replication = str(self.replication)
        ports = {"PLAINTEXT": node.port, **node.listeners}
        for_clients = ",".join([f"{name}://127.0.0.1:{port}" for name, port in ports.items()])
        protocols = [f"{name}:{protocol}" for name, protocol in self._listeners.items()]
        return {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join([_TOPOLOGY, *protocols]),
            "listeners": f"{for_clients},CONTROLLER://127.0.0.1:{node.controller}",
            "advertised.listeners": for_clients,
            "log.dirs": str(node.data),
            "auto.create.topics.enable": "false",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "num.recovery.threads.per.data.dir": "2",
            "log.cleaner.dedupe.buffer.size": "8388608",
            "log.cleaner.backoff.ms": "300",
            "log.initial.task.delay.ms": "500",
            # Retention goes by the time that a record says of itself, and tests send records of long ago.
            "log.retention.ms": "-1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replication,
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": replication,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": replication,
            "share.coordinator.state.topic.min.isr": "1",
            # A write that one node has is lost with it: two of three must have it.
            "min.insync.replicas": "2" if len(self.nodes) > 2 else "1",
            # Tests do not want to wait for what a production group waits for.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "broker.heartbeat.interval.ms": "1000",
            "broker.session.timeout.ms": "6000",
            **self._settings,
        }


def _cluster_id() -> str:
    """A random id as Kafka writes it: 16 bytes in base 64, which must not begin with a dash."""
    while True:
        found = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if re.match(r"\w", found):
            return found


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different, and none that the system gives to connections: one of those
    could be taken while its node is down."""
    found: list[int] = []
    candidates = list(PORTS)
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"there are no {count} free ports from {PORTS.start} to {PORTS.stop}")


def main() -> int:
    """`python -m tests.cluster.kafka`: copy the jars."""
    try:
        print(install())
    except KafkaUnavailableError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
