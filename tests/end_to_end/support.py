"""A whole system as a person runs it: `jianguan up` in a process of its own, driven over HTTP, stopped or killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self, TypeVar

import httpx

from jianguan.domain.identifiers import make_uscc, organisation_check_character
from jianguan.domain.trace import TABLES
from sinks.embedded import EmbeddedStore

PROGRAM: Final = str(Path(sys.executable).with_name("jianguan"))
START: Final = 30.0  # seconds that a start may take on a busy machine
STOP: Final = 15.0
IDENTIFIED: Final = ("events", "facts", "alerts", "cases", "tasks")
REAL: Final = Path(__file__).parents[2].parent / "shared" / "data"

T = TypeVar("T")


def eventually(probe: Callable[[], T], within: float, what: str) -> T:
    """The first answer of `probe` that is true; AssertionError with the last one when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}; last: {found!r}"
        time.sleep(0.05)


def busy() -> float:
    """How many times as long as alone a process takes here, because others want the processors too; at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without any setting of ours but `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JIANGUAN_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **changes}


def jianguan(
    *arguments: str, within: float = 60.0, stdin: IO[bytes] | None = None, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [PROGRAM, *arguments]
    return subprocess.run(
        command, stdin=stdin, capture_output=True, text=True, timeout=within, env=environment(settings), check=False
    )


def descendants(pid: int) -> set[int]:
    """The processes that `pid` started, and those that they started."""
    parents: dict[int, int] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                stat = (each / "stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(each.name)] = int(fields[1])
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def alive(pid: int) -> bool:
    """Whether a process of that id runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class System:
    """One `jianguan up` on one folder. `start` and `stop` or `kill` may alternate."""

    def __init__(self, data: Path, *, demo: bool = False, port: int = 0, **settings: str) -> None:
        self.data = data
        self.log = data.with_name(f"{data.name}.log")
        self._arguments = ["up", "--demo" if demo else "--no-demo", "--data", str(data), "--port", str(port)]
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[int] = set()  # every process that was ever seen below ours
        self._http: httpx.Client | None = None
        self.started = 0.0  # time.monotonic()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    @property
    def http(self) -> httpx.Client:
        assert self._http is not None, "start it first"
        return self._http

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    def spawn(self) -> Self:
        """Start the process and do not wait."""
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, *self._arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(self._settings),
                start_new_session=True,
            )  # fmt: skip
        return self

    def start(self, within: float = START) -> Self:
        """Start the process and wait until it takes records."""
        self.spawn()
        self.find(within)
        eventually(self.ready, within, f"ready: {self.tail()}")
        self._known |= descendants(self.process.pid)
        return self

    def find(self, within: float = START) -> None:
        """Wait until it says where it is."""
        address = eventually(self._address, within, "server.json")
        self._http = httpx.Client(base_url=address, timeout=30, trust_env=False)

    def _address(self) -> str:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.tail()}"
        try:
            server = json.loads((self.data / "server.json").read_text())
        except (OSError, ValueError):
            return ""
        return str(server["url"]) if server["pid"] == self.process.pid else ""

    def ready(self) -> bool:
        """Whether every part works."""
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.tail()}"
        return self.checks().get("ready", False) is True

    def checks(self) -> dict[str, Any]:
        """What /readyz says; empty when it does not answer."""
        try:
            answer: dict[str, Any] = self.http.get("/readyz", timeout=5).json()
        except (httpx.TransportError, ValueError):
            return {}
        return answer

    def broker(self) -> int:
        """The process id of the broker."""

        def find() -> int:
            for pid in descendants(self.process.pid):
                try:
                    name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
                except OSError:
                    continue
                if name.endswith(b"tansu"):
                    return pid
            return 0

        pid = eventually(find, START, "a broker")
        self._known.add(pid)
        return pid

    def stop(self, number: int = signal.SIGINT, within: float = STOP) -> int:
        """Ask it to end; its exit code. Nothing of it may be left."""
        self._known |= descendants(self.process.pid)
        self.process.send_signal(number)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not stop within {within:g} s: {self.tail()}") from None
        self._gone()
        return code

    def kill(self) -> None:
        """kill -9 of everything, broker included, all at once."""
        victims = {self.process.pid, *descendants(self.process.pid)}
        self._known |= victims
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(STOP)
        self._gone()

    def _gone(self) -> None:
        if self._http is not None:
            self._http.close()
        eventually(lambda: not [pid for pid in self._known if alive(pid)], 3, f"nothing left of {self._known}")
        self._known.clear()

    def close(self) -> None:
        """Whatever the test did: nothing goes on running."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def tail(self, size: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-size:] if self.log.exists() else ""

    # What a person or a sender does.

    def get(self, path: str, **parameters: str | int) -> Any:
        """The JSON of an answer that must be good."""
        response = self._get(path, parameters or None)  # an empty table would cut off what `path` asks
        assert response.status_code == 200, f"{path}: {response.status_code} {response.text}"
        return response.json()

    def _get(self, path: str, parameters: Mapping[str, str | int] | None = None) -> httpx.Response:
        try:
            return self.http.get(path, params=parameters)
        except httpx.RemoteProtocolError:
            # A server may close a connection that was idle for long, as when the whole machine stood still, just when
            # a request comes (RFC 9112, 9.3.1). One that has ended is another matter.
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.tail()}"
            return self.http.get(path, params=parameters)

    def post(self, body: bytes, submission: str, media: str = "application/x-ndjson", **headers: str) -> httpx.Response:
        """One upload."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            "/v1/events",
            content=body,
            headers={"content-type": media, "jianguan-submission": submission, **named},
        )

    def send(self, events: Sequence[Mapping[str, Any]], submission: str, **headers: str) -> None:
        """Events that must all be taken."""
        body = b"\n".join(json.dumps(each, ensure_ascii=False).encode() for each in events)
        response = self.post(body, submission, **headers)
        assert response.status_code == 202, f"{response.status_code} {response.text}"
        assert response.json()["accepted"] == len(events)

    def outcomes(self, submission: str) -> dict[str, int]:
        """Records of an upload by outcome, without zeros."""
        response = self._get(f"/v1/submissions/{submission}")
        if response.status_code == 404:
            return {}
        assert response.status_code == 200, response.text
        return {name: count for name, count in response.json()["outcomes"].items() if count}

    def settled(self, submission: str, records: int, within: float = 30.0) -> dict[str, int]:
        """The outcomes, once there are as many as `records`."""
        eventually(
            lambda: sum(self.outcomes(submission).values()) >= records,
            within,
            f"{records} records of {submission}: {self.tail(1000)}",
        )
        return self.outcomes(submission)

    def quiet(self, within: float = 60.0) -> None:
        """Wait until all that was sent has gone through every stage into the store: then the journal is empty."""

        def waiting() -> int:
            size = 0
            for path in (self.data / "journal").glob("*.journal"):
                with suppress(FileNotFoundError):  # it was dropped meanwhile
                    size += path.stat().st_size
            return size

        eventually(lambda: waiting() == 0, within, f"an empty journal: {self.tail(1000)}")

    def figure(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it has none yet."""
        return figure_in(self._get("/metrics").text, name)

    def items(self, path: str, **parameters: str | int) -> list[dict[str, Any]]:
        """All items of a list, over its pages where it has any."""
        answer = self.get(path, limit=500, **parameters)
        found: list[dict[str, Any]] = answer["items"]
        while answer.get("next"):
            answer = self.get(answer["next"])
            found += answer["items"]
        return found

    def alerts(self, **parameters: str | int) -> set[str]:
        """Ids of alerts."""
        return {each["id"] for each in self.items("/v1/alerts", **parameters)}


def figure_in(text: str, name: str) -> float:
    """The sum of a metric over its labels, of what /metrics says; 0 when it has none yet."""
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum([float(line.rpartition(" ")[2]) for line in lines])


def free_port() -> int:
    """A port that was free a moment ago: for a system that senders must find again after its restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stored(data: Path) -> dict[str, set[str]]:
    """The ids in the store of a system that does not run."""
    store = EmbeddedStore(data / "store")
    store.start()
    try:
        assert set(IDENTIFIED) <= set(TABLES)
        return {table: {row[0] for row in store.query(f"SELECT DISTINCT id FROM {table}")} for table in IDENTIFIED}
    finally:
        store.close()


def complaint(number: int, occurred_at: str, enterprise: int = 1, **fields: Any) -> dict[str, Any]:
    """A valid complaint about one of many enterprises."""
    return {
        "kind": "complaint",
        "source": "tests",
        "id": f"C{number:06d}",
        "number": f"GD{number:06d}",
        "category": "prepaid-card",
        "occurred_at": occurred_at,
        "region": "310104",
        "enterprise": {"id": uscc(enterprise), "name": f"第{enterprise}商行"},
        **fields,
    }


def uscc(number: int) -> str:
    """A social credit code with a right check digit."""
    organisation = f"{number:08d}"
    return make_uscc("9", "1", "310104", organisation + organisation_check_character(organisation))


RULE: Final = """\
id: {id}
version: {version}
title: {{zh: 试验规则, en: A rule for a test}}
owner: market-regulation
legal_basis: 《中华人民共和国消费者权益保护法》第三十九条
runbook: {{zh: [核实情况], en: [Verify]}}
on: [complaint]
condition: category == "{category}"
group_by: enterprise
window: {{size: 30d, lateness: 2d}}
trigger:
  count: {{at_least: {at_least}}}
severity: high
case: {{key: enterprise}}
lead: market-regulation
joint: [public-security]
clock: complaint-acceptance
"""


def rule(identifier: str = "test-prepaid", category: str = "prepaid-card", at_least: int = 4, version: int = 1) -> str:
    """A rule file: so many complaints of a category about one enterprise within 30 days."""
    return RULE.format(id=identifier, category=category, at_least=at_least, version=version)


def copy_library(target: Path) -> Path:
    """The shipped rules in a folder of the test's own."""
    from rules.ruleset import RuleSet

    shutil.copytree(RuleSet.library_path(), target)
    return target
