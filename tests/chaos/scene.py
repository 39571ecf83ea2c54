"""The processes of a run and what can be done to them. Whatever should run and does not is started again, as a
supervisor would; a process that ended by itself is written down.

Everything is started by the main thread: children die with the thread that started them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from sinks.webhooks.signing import generate_secret
from tests.chaos import rulebook
from tests.chaos.receiver import Receiver
from tests.chaos.schedule import Action
from tests.clickhouse import NativeServer
from tests.cluster.kafka import KafkaCluster, KafkaNode, free_ports
from tests.cluster.system import Cluster, Dashboards, Worker
from tests.end_to_end.support import busy, eventually
from tests.relay import Relay

RECEIVERS: Final = {"market-regulation": "market", "public-security": "police"}  # of each department
AGAIN: Final = 1.0  # seconds until what ended by itself is started again
PARTITIONS: Final = 4


class Process(Protocol):
    """What a supervisor needs of a process."""

    @property
    def running(self) -> bool: ...
    def spawn(self) -> object: ...
    def kill(self) -> None: ...


@dataclass(slots=True)
class Part:
    """A process that should run, unless it is `wanted` no more or kept down for a while."""

    name: str
    process: Process
    wanted: bool = True
    paused: bool = False
    down_until: float = 0.0  # monotonic
    ours: bool = True  # it is not running because we have it so
    spawned: float = 0.0
    said: int = 0  # the size of a worker's log then


class _Store:
    """The store server as a part."""

    def __init__(self, server: NativeServer) -> None:
        self._server = server

    @property
    def running(self) -> bool:
        return self._server.running

    def spawn(self) -> None:
        try:
            self._server.start()
        except RuntimeError:  # on a full disk it cannot; it is tried again
            self._server.kill()

    def kill(self) -> None:
        self._server.kill()


class _Pages:
    """The dashboards as a part."""

    def __init__(self, dashboards: Dashboards) -> None:
        self._dashboards = dashboards

    @property
    def running(self) -> bool:
        process = self._dashboards._process
        return process is not None and process.poll() is None

    def spawn(self) -> None:
        self._dashboards.spawn()

    def kill(self) -> None:
        if self.running:
            self._dashboards.kill()


class RelayedKafka(KafkaCluster):
    """Each node has one more listener, which is reached through a relay alone."""

    def __init__(self, folder: Path, nodes: int) -> None:
        super().__init__(folder, nodes)
        self._hidden = dict(zip(self.nodes, free_ports(nodes), strict=True))
        self.relays = [Relay(port) for port in self._hidden.values()]

    @property
    def relayed(self) -> str:
        """The addresses for a client whose link to the brokers can be cut."""
        return ",".join([f"127.0.0.1:{relay.port}" for relay in self.relays])

    def _config(self, node: KafkaNode) -> dict[str, str]:
        config = super()._config(node)
        relay = self.relays[self.nodes.index(node)]
        return {
            **config,
            "listener.security.protocol.map": f"{config['listener.security.protocol.map']},RELAYED:PLAINTEXT",
            "listeners": f"{config['listeners']},RELAYED://127.0.0.1:{self._hidden[node]}",
            "advertised.listeners": f"{config['advertised.listeners']},RELAYED://127.0.0.1:{relay.port}",
        }

    def stop(self) -> None:
        """End the relays too."""
        super().stop()
        for relay in self.relays:
            relay.close()


@dataclass(slots=True)
class Scene:
    """Everything that runs. `make` prepares it, `begin` starts it, `close` ends it whatever happened."""

    folder: Path
    kafka: RelayedKafka
    server: NativeServer
    cluster: Cluster
    receiver: Receiver
    disk: str  # empty: the store is on a small disk of its own; else why it is not
    parts: dict[str, Part] = field(default_factory=dict)
    workers: list[Part] = field(default_factory=list)
    links: dict[str, Relay] = field(default_factory=dict)  # of workers to the store
    ended: list[str] = field(default_factory=list)  # processes that ended by themselves, and how
    done_to: dict[Action, Part] = field(default_factory=dict)  # what an action that lasts was done to
    rules_added: int = 0

    @classmethod
    def make(cls, folder: Path, *, workers: int, brokers: int, megabytes: int) -> Self:
        """Nothing runs yet but the store, whose port has to be known. `megabytes`: of its disk."""
        store = folder / "store"
        store.mkdir(parents=True)
        disk = _mount(store, megabytes)
        kafka = RelayedKafka(folder / "kafka", brokers)
        # No port that the system gives to connections: one could be taken while its server is down.
        store_port, receiver_port = free_ports(2)
        server = NativeServer(store, port=store_port)
        server.start()
        rules = folder / "rules"
        rulebook.write(rules)
        secret = folder / "secret"
        secret.write_text(generate_secret(lambda size: bytes(range(size))).reveal() + "\n", "ascii")
        receiver = Receiver(receiver_port, secret, folder / "received.ndjson")
        (folder / "receivers.yaml").write_text(_receivers(receiver.port), "utf-8")
        cluster = Cluster(
            folder / "cluster", kafka.bootstrap, server.url, rules, partitions=PARTITIONS,
            replication=kafka.replication, settings={"JIANGUAN_RECEIVERS": str(folder / "receivers.yaml")},
        )  # fmt: skip
        made = cls(folder, kafka, server, cluster, receiver, disk)
        made._part("store", _Store(server))
        made._part("receiver", receiver)
        made._part("dashboards", _Pages(cluster.dashboards))
        for node in kafka.nodes:
            made._part(f"broker {node.number}", node)
        for _ in range(workers):
            made._add_worker()
        return made

    def begin(self) -> None:
        """Start everything and wait until it works."""
        self.kafka.start()
        self.tend()
        self.wait_until_up(120)

    def tend(self) -> None:
        """Start what should run and does not."""
        now = time.monotonic()
        for part in list(self.parts.values()):
            if part.process.running or not part.wanted:
                continue
            if not part.ours:
                part.ours, part.down_until = True, now + AGAIN
                self.ended.append(f"{part.name}: {_how(part)}")
            if now >= part.down_until:
                self._spawn(part, now)

    def wait_until_up(self, within: float) -> None:
        """Return when everything that should run answers, and each worker has restored its partitions."""

        def up() -> bool:
            self.tend()
            self.cluster.dashboards.find(0.1)
            return self.cluster.dashboards.ready() and all(map(self._restored, self.workers))

        def probe() -> bool:
            try:
                return up()
            except AssertionError:
                return False

        eventually(probe, within * busy(), "everything to work again")

    def stop(self) -> dict[str, int]:
        """End workers and pages in good order; the exit code of each."""
        codes: dict[str, int] = {}
        for part in self.workers:
            assert isinstance(part.process, Worker)
            if part.wanted:
                part.wanted = False
                codes[part.name] = part.process.stop(60)
        self.parts["dashboards"].wanted = False
        codes["dashboards"] = self.cluster.dashboards.stop(within=60)
        return codes

    def close(self, *, keep_store: bool) -> None:
        """End everything. With `keep_store` the store's files are there afterwards, to be looked into."""
        for part in self.workers:
            if part.paused and isinstance(part.process, Worker) and part.process.running:
                part.process.resume()
        self.cluster.close()
        self.receiver.kill()
        for relay in self.links.values():
            relay.close()
        self.server.kill()
        self.kafka.stop()
        if not self.disk:
            if keep_store:
                shutil.copytree(self.folder / "store", self.folder / "store-kept", symlinks=True)
            subprocess.run(["umount", "-l", str(self.folder / "store")], check=True)

    def act(self, action: Action, *, begins: bool) -> str:
        """Do it, or undo it; what was done in a few words, for the log."""
        name = action.kind.replace("-", "_")
        does: Callable[[Action, bool], str] = getattr(self, f"_{name}")
        return does(action, begins)

    # What can be done. Each takes the action and whether it begins or is undone.

    def _kill_worker(self, action: Action, begins: bool) -> str:
        return self._down(self._choose(action), action.lasts) if begins else ""

    def _kill_broker(self, action: Action, begins: bool) -> str:
        node = self.kafka.nodes[action.target % len(self.kafka.nodes)]
        return self._down(self.parts[f"broker {node.number}"], action.lasts) if begins else ""

    def _kill_store(self, action: Action, begins: bool) -> str:
        return self._down(self.parts["store"], action.lasts) if begins else ""

    def _kill_receiver(self, action: Action, begins: bool) -> str:
        return self._down(self.parts["receiver"], action.lasts) if begins else ""

    def _restart_all(self, action: Action, begins: bool) -> str:
        if begins:
            for part in self.parts.values():
                self._down(part, action.lasts)
        return "everything"

    def _pause_worker(self, action: Action, begins: bool) -> str:
        part = self.done_to.pop(action, None) or self._choose(action)
        assert isinstance(part.process, Worker)
        if begins:
            self.done_to[action] = part
            part.process.pause()
        elif part.process.running:
            part.process.resume()
        part.paused = begins
        return part.name

    def _cut_store(self, action: Action, begins: bool) -> str:
        part = self.done_to.pop(action, None) or self._choose(action)
        if begins:
            self.done_to[action] = part
            self.links[part.name].mute()
        else:
            self.links[part.name].unmute()
        return part.name

    def _cut_broker(self, action: Action, begins: bool) -> str:
        for relay in self.kafka.relays:
            relay.mute() if begins else relay.unmute()
        return "workers with odd numbers"

    def _fill_disk(self, action: Action, begins: bool) -> str:
        filler = self.folder / "store" / "filler"
        if begins:
            _fill(filler)
        else:
            filler.unlink(missing_ok=True)
        return "the store's"

    def _add_worker(self, action: Action | None = None, begins: bool = True) -> str:
        number = len(self.workers) + 1
        relay = Relay(int(self.server.url.rpartition(":")[2]))
        database = self.cluster.url.rpartition("/")[2]
        settings = {"JIANGUAN_STORE": f"{relay.url}/{database}"}
        if number % 2:  # those whose link to the brokers can be cut
            settings["JIANGUAN_BROKER"] = self.kafka.relayed
        if number % 4 < 2:  # of those and of the others, every second one takes its own place again
            settings["JIANGUAN_WORKER_NAME"] = f"worker-{number}"
        part = self._part(f"worker {number}", self.cluster.worker(**settings))
        self.links[part.name] = relay
        self.workers.append(part)
        return part.name

    def _remove_worker(self, action: Action, begins: bool) -> str:
        if begins:
            part = self.done_to[action] = self._choose(action)
            assert isinstance(part.process, Worker)
            part.wanted = False
            if part.process.running:
                part.process.terminate()
            return part.name
        part = self.done_to.pop(action)
        if part.process.running:
            self.ended.append(f"{part.name}: still there {action.lasts:g} s after SIGTERM, killed")
            part.process.kill()
        return part.name

    def _touch_rule(self, action: Action, begins: bool) -> str:
        rulebook.touch(self.cluster.rules, action.target)
        return "one"

    def _add_rule(self, action: Action, begins: bool) -> str:
        self.rules_added += 1
        rulebook.add(self.cluster.rules, self.rules_added)
        return f"number {self.rules_added}"

    def _choose(self, action: Action) -> Part:
        """One of the workers that should run, if it can be one that does."""
        wanted = [part for part in self.workers if part.wanted]
        awake = [part for part in wanted if part.process.running and not part.paused]
        among = awake or wanted
        return among[action.target % len(among)]

    def _down(self, part: Part, seconds: float) -> str:
        part.process.kill()
        part.ours, part.paused = True, False
        part.down_until = max(part.down_until, time.monotonic() + seconds)
        return part.name

    def _part(self, name: str, process: Process) -> Part:
        part = self.parts[name] = Part(name, process)
        return part

    def _spawn(self, part: Part, now: float) -> None:
        if isinstance(part.process, Worker):
            log = part.process.log
            part.said = log.stat().st_size if log.exists() else 0
        part.process.spawn()
        part.spawned, part.ours = now, False
        part.down_until = now + AGAIN  # if it does not come up

    def _restored(self, part: Part) -> bool:
        return not part.wanted or "of this worker are restored" in self._since_spawned(part)

    def all_rules(self) -> Callable[[], bool]:
        """Touch a rule; the answer to whether every worker has loaded all rules since."""
        before = {part.name: len(self._log(part)) for part in self.workers}
        rulebook.touch(self.cluster.rules, 0)
        wanted = f"{len(rulebook.RULES) + self.rules_added} rules were reloaded"
        return lambda: all(
            not part.wanted or wanted in self._log(part)[before[part.name] :] for part in self.workers
        )  # fmt: skip

    @staticmethod
    def _log(part: Part) -> str:
        assert isinstance(part.process, Worker)
        return part.process.log.read_text("utf-8", "replace") if part.process.log.exists() else ""

    @staticmethod
    def _since_spawned(part: Part) -> str:
        assert isinstance(part.process, Worker)
        with part.process.log.open("rb") as log:
            log.seek(part.said)
            return log.read().decode("utf-8", "replace")


def _how(part: Part) -> str:
    if not isinstance(part.process, Worker):
        return "ended by itself"
    said = [line for line in part.process.tail(3_000).splitlines() if line.strip()]
    return f"ended by itself with {part.process.exit_code}: {said[-1][:300] if said else ''}"


def _receivers(port: int) -> str:
    return "receivers:\n" + "".join([
        f"  - id: {name}\n    department: {department}\n    url: http://127.0.0.1:{port}/{name}\n"
        "    secret_file: secret\n    allow_private: true\n    allow_http: true\n"
        for department, name in RECEIVERS.items()
    ])  # fmt: skip


def _mount(folder: Path, megabytes: int) -> str:
    """A small disk at `folder`; empty, or why there is none."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "only root can mount a small file system"
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"mount: {mounted.stderr.strip()}" if mounted.returncode else ""


def _fill(path: Path) -> None:
    """A file that takes all the room that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
