"""`jianguan doctor`: what is wrong with this machine or this installation, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import click
import httpx

from jianguan.cli import printable
from jianguan.cli.server import ServerAddress, client_options
from jianguan.clock import Clock, SystemClock
from jianguan.errors import JianguanError, UnavailableError
from jianguan.settings import Settings, load_settings, unknown_settings

Level = Literal["ok", "warning", "error"]
DISK_ERROR: Final = 500_000_000
DISK_WARNING: Final = 5_000_000_000
READY_WITHIN: Final = 5.0  # seconds, for the running server to answer
ANSWER_WITHIN: Final = 10.0  # seconds, for a broker, and for each answer of a ClickHouse server
_NO_ANSWER: Final = (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError)
_MARKS: Final[dict[str, tuple[str, str]]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    text: str


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the embedded system.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(data: Path | None, as_json: bool) -> None:
    """Look at ports, data, store, disk, clock, calendar, rules, receivers and broker. Ends with 3 if one is wrong."""
    settings = load_settings(data=data)
    for library in ("aiokafka", "clickhouse_driver"):  # what they have to say is in the findings, without a traceback
        logging.getLogger(library).setLevel(logging.CRITICAL)
    findings = list(examine(settings, SystemClock()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        for finding in findings:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {finding.text}")
    if any(finding.level == "error" for finding in findings):
        raise click.exceptions.Exit(3)


def examine(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Every check in turn; one that fails in an unforeseen way is a finding, not the end."""
    server = _server(settings)
    yield from _running(server)
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("settings", _settings),
        ("port", lambda: _port(settings, server)),
        ("folder", lambda: _folder(settings)),
        ("store", lambda: _store(settings, server)),
        ("parts", lambda: _parts(settings)),
        ("disk", lambda: _disk(settings)),
        ("clock", lambda: _clock(settings, clock)),
        ("calendar", lambda: _calendar(settings, clock)),
        ("rules", lambda: _rules(settings, clock, server)),
        ("receivers", lambda: _receivers(settings)),
        ("broker", lambda: _broker(settings)),
    ]
    for name, check in checks:
        try:
            yield check()
        except (JianguanError, OSError) as error:
            yield Finding(name, "error", printable(str(error)))
        except Exception as error:  # noqa: BLE001 - what else is wrong is wanted all the same
            yield Finding(name, "error", f"{type(error).__name__} while looking: {error}; this is a defect")


def _server(settings: Settings) -> dict[str, object] | None:
    """What a running `jianguan up` wrote about itself, if its process is still there; of a cluster, the pages that
    answer on the port that is set."""
    if not settings.embedded:
        return _pages(settings)
    try:
        found = json.loads((settings.data / "server.json").read_text())
        os.kill(int(found["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(found)


def _pages(settings: Settings) -> dict[str, object] | None:
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - asked, not bound
    url = f"http://[{here}]:{settings.port}" if ":" in here else f"http://{here}:{settings.port}"
    try:
        return {"url": url, "parts": _parts_not_ready(url)}
    except _NO_ANSWER:  # nobody, or another program: the look at the port tells
        return None


def _running(server: dict[str, object] | None) -> Iterator[Finding]:
    """What the running system says of itself, each part that does not work by name."""
    if server is None:
        yield Finding("server", "ok", "none is running on this folder or port")
        return
    where = f"running at {server['url']}" + (f" as process {server['pid']}" if "pid" in server else "")
    try:
        found = server.get("parts")  # whoever was found by asking has told already
        parts = found if isinstance(found, dict) else _parts_not_ready(str(server["url"]))
    except _NO_ANSWER as error:
        yield Finding(
            "server", "error", f"{where}, but it does not say how it is ({type(error).__name__}); its log may say why"
        )
        return
    if not parts:
        yield Finding("server", "ok", f"{where}, and every part works")
        return
    yield Finding("server", "error", f"{where}, but not ready: {', '.join(parts)}")
    for part, detail in parts.items():
        yield Finding(f"running {part}", "error", printable(detail))


def _parts_not_ready(url: str) -> dict[str, str]:
    """What is wrong with each part that the server's /readyz calls not ok."""
    options = client_options(ServerAddress(url, "server.json"), {}, READY_WITHIN)
    with httpx.Client(**options) as client:
        checks = client.get("/readyz").json()["checks"]
    return {str(part): str(check["detail"]) for part, check in checks.items() if not check["ok"]}


def _settings() -> Finding:
    unknown = unknown_settings(os.environ)
    if unknown:
        return Finding("settings", "warning", ". ".join(unknown))
    return Finding("settings", "ok", "every JIANGUAN_ variable in the environment is known")


def _port(settings: Settings, server: dict[str, object] | None) -> Finding:
    if server is not None:
        return Finding("port", "ok", f"{str(server['url']).partition('//')[2]} is the running system's own")
    address = f"{settings.host}:{settings.port}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("port", "error", f"{address} cannot be used: {error.strerror}; choose another with --port")
    return Finding("port", "ok", f"{address} is free")


def _folder(settings: Settings) -> Finding:
    from jianguan.wiring.folder import could_be_written
    from jianguan.wiring.tables import KEY_FILE

    could_be_written(settings.data, option=settings.embedded)
    text = f"{settings.data} can be written"
    if not (settings.embedded or (settings.data / KEY_FILE).exists()):
        return Finding(
            "folder",
            "warning",
            f"{text}, but {KEY_FILE} is not in it: a start makes a new one, and complaints of one reporter are matched"
            " only if all workers have the same",
        )
    return Finding("folder", "ok", text)


def _store(settings: Settings, server: dict[str, object] | None) -> Finding:
    if settings.store is not None:
        from jianguan.wiring.server_store import server_store
        from sinks.server_pool import Limits

        store = server_store(settings, Limits(connections=1, answer_s=ANSWER_WITHIN, attempts=1))
        try:
            missing = store.missing()
        finally:
            store.close()
        return _with_missing("the ClickHouse server answers", missing)
    if server is not None:
        return Finding("store", "ok", f"{settings.data / 'store'} is open in process {server['pid']}")
    if not (settings.data / "store").exists():
        return Finding("store", "ok", f"{settings.data / 'store'} does not exist yet; the first start makes it")
    from sinks.embedded import EmbeddedStore

    embedded = EmbeddedStore(settings.data / "store")
    try:
        missing = embedded.look()
        # There may be no table yet.
        rows = embedded.query(
            "SELECT total_rows FROM system.tables WHERE database = currentDatabase() AND name = 'events'"
        )
    finally:
        embedded.close()
    return _with_missing(f"{settings.data / 'store'} opens; {rows[0][0] if rows else 0} event rows", missing)


def _with_missing(found: str, missing: list[str]) -> Finding:
    """A store that answers, and the migrations that it lacks. They are not run: a backup comes first."""
    if missing:
        return Finding(
            "store", "warning", f"{found}; the next start brings its tables up to date: {', '.join(missing)}"
        )
    return Finding("store", "ok", f"{found}; its tables are up to date")


def _parts(settings: Settings) -> Finding:
    from sinks.engine_writes import set_aside_in

    if settings.store is not None:
        return Finding("parts", "ok", "the ClickHouse server names broken parts in its table system.detached_parts")
    found = set_aside_in(settings.data / "store")
    if found:
        return Finding(
            "parts",
            "warning",
            f"{len(found)} parts of the store could not be read and were set aside, the first is {found[0]}; "
            "docs/operator.md says under Disk why, and when they can be deleted",
        )
    return Finding("parts", "ok", "no part of the store was set aside")


def _disk(settings: Settings) -> Finding:
    folder = settings.data
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free at {folder.resolve()}"
    if not settings.embedded:  # a process of a cluster keeps next to nothing there
        return Finding(
            "disk", "ok", f"{text}; what lasts is on the disks of Kafka and ClickHouse, which are not seen here"
        )
    if free < DISK_ERROR:
        return Finding("disk", "error", f"{text}; the journal stops taking records when it is full: free some")
    return Finding("disk", "warning" if free < DISK_WARNING else "ok", text)


def _clock(settings: Settings, clock: Clock) -> Finding:
    now = clock.now()
    newest = max((path.stat().st_mtime for path in settings.data.glob("journal/*")), default=0.0)
    if newest > now.timestamp() + 60:
        return Finding(
            "clock", "error", f"it is {now:%Y-%m-%d %H:%M:%S} UTC here, but the journal was written later than that"
        )
    if now.year < 2025:
        return Finding("clock", "error", f"it is {now:%Y-%m-%d} here; events would all lie in the future")
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _calendar(settings: Settings, clock: Clock) -> Finding:
    from jianguan.domain.working_days import WorkingDays

    years = WorkingDays.load(settings.calendars).years()
    year = clock.now().year
    missing = [str(each) for each in (year, year + 1) if each not in years]
    if missing:
        return Finding(
            "calendar",
            "warning" if str(year) not in missing else "error",
            f"no holiday notice for {' and '.join(missing)}: only weekends count as rest days then; "
            "add a table with JIANGUAN_CALENDARS when it is announced",
        )
    return Finding("calendar", "ok", f"working days known for {years[0]} to {years[-1]}")


def _rules(settings: Settings, clock: Clock, server: dict[str, object] | None) -> Finding:
    from jianguan.wiring.tables import load_reference, rule_folders
    from rules.ruleset import RuleSet

    folders = rule_folders(settings)
    rules = RuleSet.load(folders, load_reference(settings, clock))
    count, places = len(rules.running), ", ".join(map(str, folders))
    if server is not None:  # which may have been started with another environment
        return Finding("rules", "ok", f"{count} rules would be loaded from {places} with this environment")
    return Finding("rules", "ok", f"{count} rules run from {places}")


def _receivers(settings: Settings) -> Finding:
    from jianguan.wiring.parts import receivers_of, without_department
    from rules.departments import Departments

    departments = Departments.load()
    receivers = receivers_of(settings, departments)
    if not receivers:
        return Finding("receivers", "warning", "no webhook receivers; set JIANGUAN_RECEIVERS to a file that lists them")
    if useless := without_department(receivers, departments):
        return Finding("receivers", "warning", "; ".join(useless))
    return Finding("receivers", "ok", f"{len(receivers)} webhook receivers")


def _broker(settings: Settings) -> Finding:
    if settings.broker is None:
        from jianguan.embedded.broker import find_binary

        return Finding("broker", "ok", f"embedded: {find_binary().name} can be started")
    from jianguan.wiring.broker import broker_of
    from jianguan.wiring.parts import CLUSTER_PARTITIONS
    from streams.topics import all_topics, check_widths, look_at_topics

    broker = broker_of(settings)
    wanted = all_topics(settings.topic_prefix, settings.partitions or CLUSTER_PARTITIONS, settings.replication)
    try:
        found = asyncio.run(look_at_topics(broker, wanted, ANSWER_WITHIN, settings.group))
    except UnavailableError as error:
        reason = str(error.__cause__) or type(error.__cause__).__name__
        return Finding("broker", "error", f"{settings.broker} does not answer: {reason}; is it running and reachable?")
    check_widths(wanted, {name: topic.partitions for name, topic in found.items()})
    answers = f"{settings.broker} answers"
    if thin := [name for name, topic in found.items() if topic.replicas < settings.replication]:
        return Finding(
            "broker",
            "warning",
            f"{answers}, but topics have fewer than {settings.replication} replicas: {', '.join(thin)}; the setting is"
            " for topics that are made, give these more with kafka-reassign-partitions",
        )
    missing = len(wanted) - len(found)
    made = f"; the first start makes {missing} topics" if missing else ""
    return Finding("broker", "ok", f"{answers}; {len(found)} topics have {wanted[0].partitions} partitions each{made}")
