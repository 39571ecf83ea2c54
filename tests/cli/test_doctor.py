"""What the doctor finds, on a machine that is well and on one that is not."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from jianguan.cli import doctor
from jianguan.cli.doctor import DISK_ERROR, DISK_WARNING, Finding, examine
from jianguan.clock import VirtualClock
from jianguan.settings import Settings, load_settings
from sinks import migrate
from sinks.embedded import EmbeddedStore
from streams.topics import all_topics, ensure_topics
from tests.cluster.kafka import free_ports
from tests.end_to_end.support import jianguan
from tests.streams.support import unique

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
CHECKS = [
    "server",
    "settings",
    "port",
    "folder",
    "store",
    "parts",
    "disk",
    "clock",
    "calendar",
    "rules",
    "receivers",
    "broker",
]

pytestmark = pytest.mark.store


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("JIANGUAN_")]:
        monkeypatch.delenv(name)
    (port,) = free_ports(1)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=DISK_WARNING))
    return load_settings(data=tmp_path / "data", port=port)


def findings(settings: Settings, now: datetime = NOW) -> dict[str, Finding]:
    return {each.check: each for each in examine(settings, VirtualClock(now))}


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(doctor.command, ["--data", str(settings.data), *arguments])


def test_on_a_new_machine_nothing_is_wrong(settings: Settings) -> None:
    found = findings(settings)
    assert list(found) == CHECKS
    assert [each.check for each in found.values() if each.level == "error"] == []
    assert "does not exist yet; the first start makes it" in found["store"].text
    assert not settings.data.exists()


def test_a_misspelt_setting_is_a_warning_that_names_the_right_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings(settings)["settings"].level == "ok"
    monkeypatch.setenv("JIANGUAN_RECIEVERS", "r.yaml")
    text = "no setting JIANGUAN_RECIEVERS; did you mean JIANGUAN_RECEIVERS?"
    assert findings(settings)["settings"] == Finding("settings", "warning", text)


def test_a_port_that_another_program_has_is_an_error(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind((settings.host, settings.port))
        other.listen()
        finding = findings(settings)["port"]
    assert finding.level == "error"
    assert "choose another with --port" in finding.text


READY: dict[str, object] = {"ready": True, "checks": {"rules": {"ok": True, "detail": ""}}}


@contextmanager
def running(settings: Settings, answer: object, asked: list[str] | None = None) -> Iterator[str]:
    """A stand-in for the running system, which says `answer` of how it is; its address. `asked` gets each request's
    path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if asked is not None:
                asked.append(self.path)
            body = json.dumps(answer).encode()
            self.send_response(200 if answer == READY and self.path == "/readyz" else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((settings.host, settings.port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{settings.host}:{settings.port}"
        settings.data.mkdir()
        (settings.data / "server.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
        yield url
        server.shutdown()


def test_a_port_that_the_running_system_has_is_its_own(settings: Settings) -> None:
    with running(settings, READY) as url:
        found = findings(settings.model_copy(update={"port": settings.port + 1}))
    assert list(found) == CHECKS
    assert found["server"] == Finding(
        "server", "ok", f"running at {url} as process {os.getpid()}, and every part works"
    )
    assert found["port"] == Finding("port", "ok", f"127.0.0.1:{settings.port} is the running system's own")
    assert found["store"].text.endswith(f"is open in process {os.getpid()}")
    assert "rules would be loaded from" in found["rules"].text
    assert found["rules"].text.endswith("with this environment")


def test_a_running_system_that_is_not_ready_is_an_error_for_each_part_that_does_not_work(settings: Settings) -> None:
    checks = {"broker": {"ok": True, "detail": ""}, "rules": {"ok": False, "detail": "a.yaml:3:1: no such field"}}
    with running(settings, {"ready": False, "checks": checks}):
        found = findings(settings)
    assert found["server"].level == "error"
    assert found["server"].text.endswith("but not ready: rules")
    assert found["running rules"] == Finding("running rules", "error", "a.yaml:3:1: no such field")
    assert "running broker" not in found


def test_a_running_system_that_does_not_say_how_it_is_is_an_error(settings: Settings) -> None:
    with running(settings, "something else"):
        assert "does not say how it is" in findings(settings)["server"].text
    assert findings(settings)["server"].level == "error"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"url": "x", "pid": "?"}'])
def test_what_a_dead_server_left_behind_is_no_running_one(settings: Settings, text: str) -> None:
    settings.data.mkdir()
    (settings.data / "server.json").write_text(text)
    assert findings(settings)["server"].text == "none is running on this folder or port"


def test_a_data_folder_that_cannot_be_made_is_an_error_that_says_why(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = findings(settings.model_copy(update={"data": tmp_path / "file" / "data"}))["folder"]
    assert finding.level == "error"
    assert f"the data folder {tmp_path / 'file' / 'data'} cannot be written (not a directory)" in finding.text


def test_a_data_folder_on_a_read_only_disk_is_an_error_that_says_why(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    settings.data.mkdir()
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    finding = findings(settings)["folder"]
    assert finding.level == "error"
    assert "cannot be written (read-only file system)" in finding.text


@pytest.fixture
def store(settings: Settings) -> Iterator[EmbeddedStore]:
    made = EmbeddedStore(settings.data / "store")
    made.start()
    yield made
    made.close()


def test_a_store_that_another_process_has_is_an_error_that_names_it(settings: Settings, store: EmbeddedStore) -> None:
    finding = findings(settings)["store"]
    assert finding.level == "error"
    assert f"in use by process {os.getpid()}" in finding.text


def test_a_store_that_opens_says_how_much_is_in_it(settings: Settings, store: EmbeddedStore) -> None:
    store.close()
    told = f"{settings.data / 'store'} opens; 0 event rows; its tables are up to date"
    assert findings(settings)["store"] == Finding("store", "ok", told)


def test_a_store_of_an_older_version_is_left_as_it_is(
    settings: Settings, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    shipped = migrate.load()
    newer = migrate.Migration(len(shipped) + 1, "newer", "CREATE TABLE IF NOT EXISTS newer (id String) ENGINE = Memory")
    monkeypatch.setattr(migrate, "load", lambda: [*shipped, newer])
    for _ in range(2):
        finding = findings(settings)["store"]
        assert (finding.level, finding.text.endswith(f"brings its tables up to date: {newer}")) == ("warning", True)


def test_parts_that_were_set_aside_are_counted_and_one_is_named(settings: Settings) -> None:
    assert findings(settings)["parts"].text == "no part of the store was set aside"
    folder = settings.data / "store/data/store/a59/a59a5e07/detached"
    for name in ("broken-on-start_all_2_2_0", "broken-on-start_all_1_1_0", "ignored_all_3_3_0"):
        (folder / name).mkdir(parents=True)
    finding = findings(settings)["parts"]
    assert finding.level == "warning"
    assert finding.text.startswith("2 parts of the store could not be read")
    assert str(folder / "broken-on-start_all_1_1_0") in finding.text


@pytest.mark.parametrize(
    ("free", "level"),
    [(DISK_WARNING, "ok"), (DISK_WARNING - 1, "warning"), (DISK_ERROR, "warning"), (DISK_ERROR - 1, "error")],
)
def test_the_disk_is_judged_by_what_is_free(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    assert findings(settings)["disk"].level == level


def test_a_clock_that_went_back_is_an_error(settings: Settings) -> None:
    (settings.data / "journal").mkdir(parents=True)
    entry = settings.data / "journal" / "0.journal"
    entry.touch()
    os.utime(entry, (NOW.timestamp() + 3_600,) * 2)
    assert "the journal was written later than that" in findings(settings)["clock"].text
    os.utime(entry, (NOW.timestamp(),) * 2)
    assert findings(settings)["clock"].level == "ok"


@pytest.mark.parametrize(("year", "level"), [(2020, "error"), (2026, "ok")])
def test_a_clock_that_was_never_set_is_an_error(settings: Settings, year: int, level: str) -> None:
    assert findings(settings, NOW.replace(year=year))["clock"].level == level


def test_a_year_without_a_notice_of_holidays_is_an_error_and_the_next_one_a_warning(settings: Settings) -> None:
    assert findings(settings)["calendar"].level == "warning"
    finding = findings(settings, NOW.replace(year=2099))["calendar"]
    assert finding.level == "error"
    assert "2099 and 2100" in finding.text


def test_rules_that_cannot_be_loaded_are_an_error_with_file_and_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "bad.yaml").write_text("id: bad\nversion: one\n")
    finding = findings(settings.model_copy(update={"rules": [tmp_path / "rules"]}))["rules"]
    assert finding.level == "error"
    assert "bad.yaml:" in finding.text


def test_a_broker_that_does_not_answer_is_an_error(settings: Settings) -> None:
    (port,) = free_ports(1)
    finding = findings(settings.model_copy(update={"broker": f"127.0.0.1:{port}"}))["broker"]
    assert finding.level == "error"
    assert f"127.0.0.1:{port} does not answer" in finding.text


@pytest.fixture
def cluster(settings: Settings) -> Settings:
    """Of a process of a cluster, whose parts nobody has started."""
    broker, store = free_ports(2)
    at = {"broker": f"127.0.0.1:{broker}", "store": f"clickhouse://127.0.0.1:{store}/jianguan"}
    return settings.model_copy(update=at)


def test_the_pages_of_a_cluster_are_asked_how_they_are_and_have_their_port(cluster: Settings) -> None:
    assert findings(cluster)["server"].text == "none is running on this folder or port"
    asked: list[str] = []
    with running(cluster, READY, asked) as url:
        found = findings(cluster)
    assert asked == ["/readyz"], "once is enough"
    assert found["server"] == Finding("server", "ok", f"running at {url}, and every part works")
    assert found["port"] == Finding("port", "ok", f"127.0.0.1:{cluster.port} is the running system's own")


def test_a_port_of_a_cluster_that_another_program_answers_on_is_an_error(cluster: Settings) -> None:
    with running(cluster, "something else"):
        found = findings(cluster)
    assert found["server"].text == "none is running on this folder or port"
    assert found["port"].level == "error"


def test_a_folder_of_a_cluster_that_cannot_be_written_is_set_where_its_processes_can_have_it_set(
    cluster: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    nowhere = {"data": tmp_path / "file" / "data"}
    finding = findings(cluster.model_copy(update=nowhere))["folder"]
    assert finding.text.endswith("choose another with JIANGUAN_DATA"), "a worker has no --data"


def test_a_process_of_a_cluster_that_would_make_a_key_of_its_own_is_warned(cluster: Settings) -> None:
    finding = findings(cluster)["folder"]
    assert finding.level == "warning"
    assert "reporter-hash.key is not in it" in finding.text
    cluster.data.mkdir()
    (cluster.data / "reporter-hash.key").write_bytes(b"k" * 32)
    assert findings(cluster)["folder"].level == "ok"


@pytest.mark.parametrize(("content", "sign"), [(None, "no such file"), ("\n", "is empty"), (b"\xff", "is not text")])
def test_a_file_without_the_stores_password_is_an_error_that_names_it(
    cluster: Settings, tmp_path: Path, content: str | bytes | None, sign: str
) -> None:
    path = tmp_path / "store_password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    finding = findings(cluster.model_copy(update={"store_password_file": path}))["store"]
    assert finding.level == "error"
    assert str(path) in finding.text
    assert sign in finding.text
    assert "Errno" not in finding.text


def test_what_libraries_say_of_parts_that_are_away_does_not_reach_the_terminal(cluster: Settings) -> None:
    ended = jianguan(
        "doctor", "--data", str(cluster.data), JIANGUAN_BROKER=cluster.broker or "", JIANGUAN_STORE=cluster.store or ""
    )
    assert ended.returncode == 3
    assert ended.stderr == ""
    assert "✗ store: the store at 127.0.0.1" in ended.stdout
    assert "✗ broker: 127.0.0.1" in ended.stdout


@pytest.mark.kafka
@pytest.mark.network
def test_topics_are_looked_at_and_one_of_another_width_is_an_error(cluster: Settings, kafka: str) -> None:
    there = cluster.model_copy(update={"broker": kafka, "partitions": 3, "topic_prefix": f"{unique('doctor')}."})
    assert (
        findings(there)["broker"].text
        == f"{kafka} answers; 0 topics have 3 partitions each; the first start makes 9 topics"
    )
    asyncio.run(ensure_topics(kafka, all_topics(there.topic_prefix, 3)))
    assert findings(there)["broker"] == Finding("broker", "ok", f"{kafka} answers; 9 topics have 3 partitions each")
    wider = findings(there.model_copy(update={"partitions": 4}))["broker"]
    assert wider.level == "error"
    assert f"topic {there.topic_prefix}facts: wanted 4 partitions, found 3" in wider.text
    thin = findings(there.model_copy(update={"replication": 3}))["broker"]
    assert thin.level == "warning"
    assert "fewer than 3 replicas" in thin.text


def test_a_list_of_receivers_that_is_not_there_is_an_error(settings: Settings, tmp_path: Path) -> None:
    finding = findings(settings.model_copy(update={"receivers": tmp_path / "none.yaml"}))["receivers"]
    assert finding.level == "error"
    assert "none.yaml" in finding.text


def test_a_receiver_whose_department_there_is_not_is_a_warning(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "receivers.yaml"
    one = "  - {{id: {0}, department: {0}, url: 'https://hooks.example.gov.cn', secret: 'whsec_{1}'}}\n"
    secret = base64.b64encode(b"s" * 32).decode()
    path.write_text("receivers:\n" + "".join(one.format(each, secret) for each in ("market-regulation", "health")))
    finding = findings(settings.model_copy(update={"receivers": path}))["receivers"]
    assert finding.level == "warning"
    assert "the receiver health gets nothing: there is no department 'health'" in finding.text
    assert "market-regulation" not in finding.text
    path.write_text(path.read_text().replace("health", "health-comission"))
    assert (
        "; did you mean health-commission?"
        in findings(settings.model_copy(update={"receivers": path}))["receivers"].text
    )
    path.write_text(path.read_text().replace("health-comission", "health-commission"))
    assert findings(settings.model_copy(update={"receivers": path}))["receivers"].level == "ok"


def test_a_look_that_fails_by_a_defect_is_a_finding_and_the_others_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(settings: Settings) -> Finding:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(doctor, "_disk", fails)
    found = findings(settings)
    assert list(found) == CHECKS
    assert found["disk"] == Finding("disk", "error", "ZeroDivisionError while looking: by nothing; this is a defect")


def test_the_command_ends_with_3_when_something_is_wrong_and_prints_it_as_json_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIANGUAN_PORT", str(settings.port))
    monkeypatch.setattr(doctor, "SystemClock", lambda: VirtualClock(NOW))
    well = run(settings)
    assert well.exit_code == 0, well.output
    assert "✓ port:" in well.output
    with socket.socket() as other:
        other.bind((settings.host, settings.port))
        other.listen()
        ill = run(settings, "--json")
    assert ill.exit_code == 3
    levels = {each["check"]: each["level"] for each in json.loads(ill.output)}
    assert list(levels) == CHECKS
    assert levels["port"] == "error"
