"""A process that still waits for what it needs can be told to end, and one that cannot start says why."""

from __future__ import annotations

import asyncio
import base64
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from jianguan.cli.running import started
from jianguan.errors import ConfigurationError, UnavailableError
from jianguan.settings import load_settings
from jianguan.wiring.parts import receivers_of
from rules.departments import Departments


async def test_a_start_that_comes_to_its_end_has_started() -> None:
    async def start() -> None:
        await asyncio.sleep(0)

    assert await started(start(), asyncio.Event())


async def test_a_start_that_waits_is_given_up_when_the_process_is_to_end() -> None:
    waiting, given_up, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()  # a broker that never comes
        finally:
            given_up.set()

    starting = asyncio.create_task(started(start(), stop))
    await waiting.wait()
    stop.set()
    assert not await asyncio.wait_for(starting, 5)
    assert given_up.is_set()


async def test_a_start_that_fails_raises_what_it_failed_of() -> None:
    async def start() -> None:
        raise UnavailableError("no broker")

    with pytest.raises(UnavailableError, match="no broker"):
        await started(start(), asyncio.Event())


def test_a_crash_inside_a_library_leaves_the_stacks_of_all_threads() -> None:
    program = (
        "import faulthandler, resource, jianguan.cli.running as running\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "running.tell_crashes()\n"
        "faulthandler._sigsegv()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in ended.stderr
    assert 'File "<string>", line 4' in ended.stderr


@pytest.mark.parametrize("command", ["up", "worker", "dashboards"])
def test_every_process_that_runs_for_long_tells_its_crashes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"jianguan.cli.{command}")
    told: list[str] = []
    monkeypatch.setattr(module, "tell_crashes", lambda: told.append("crashes"))
    monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    monkeypatch.setattr("uvloop.run", lambda coroutine: coroutine.close())
    CliRunner().invoke(module.command, [], catch_exceptions=False)
    assert told == ["crashes"]


def test_a_start_in_a_folder_that_cannot_be_made_ends_with_3_and_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    program = "from jianguan.cli import main; main()"
    # A process of its own: what makes `up` end in its time ends the process.
    command = [sys.executable, "-c", program, "up", "--data", str(folder), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith(
        f"error: the data folder {folder} cannot be written (not a directory)"
    )
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("command", "setting", "said"),
    [
        ("worker", "JIANGUAN_RECEIVERS", "{path}: the file cannot be read: No such file or directory"),
        ("worker", "JIANGUAN_RULES", "JIANGUAN_RULES names {path}, and there is no such folder of rules"),
        ("dashboards", "JIANGUAN_RULES", "JIANGUAN_RULES names {path}, and there is no such folder of rules"),
    ],
)
def test_a_process_of_a_cluster_ends_with_3_at_a_setting_that_names_nothing(
    command: str, setting: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nowhere"
    # Neither is there: what is wrong with a setting is told before anything is waited for.
    monkeypatch.setenv("JIANGUAN_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.setenv("JIANGUAN_STORE", "clickhouse://127.0.0.1:1/jianguan")
    monkeypatch.setenv("JIANGUAN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(setting, str(path))
    program = [sys.executable, "-c", "from jianguan.cli import main; main()", command]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1] == f"error: {said.format(path=path)}"


def test_a_fault_in_the_list_of_receivers_is_a_wrong_setting_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "receivers.yaml"
    path.write_text("receivers: 7\n")
    with pytest.raises(ConfigurationError, match=r"receivers\.yaml:1:12: `receivers` is a list"):
        receivers_of(load_settings(receivers=path), Departments.load())


def test_a_start_warns_of_a_receiver_whose_department_there_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "receivers.yaml"
    secret = base64.b64encode(b"s" * 32).decode()
    entry = f"{{id: one, department: helth-commission, url: 'https://hooks.example.gov.cn', secret: 'whsec_{secret}'}}"
    path.write_text(f"receivers:\n  - {entry}\n")
    (one,) = receivers_of(load_settings(receivers=path), Departments.load())
    said = "the receiver one gets nothing: there is no department 'helth-commission'; did you mean health-commission?"
    assert one.id == "one"
    assert caplog.messages == [said]


@pytest.mark.parametrize("command", ["up", "worker", "dashboards"])
def test_every_process_that_runs_for_long_warns_of_a_misspelt_setting(
    command: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = importlib.import_module(f"jianguan.cli.{command}")
    monkeypatch.setattr(module, "configure_logging", lambda *_: None)
    monkeypatch.setattr("uvloop.run", lambda coroutine: coroutine.close())
    monkeypatch.setenv("JIANGUAN_RECIEVERS", "r.yaml")
    assert CliRunner().invoke(module.command, [], catch_exceptions=False).exit_code == 0
    assert "no setting JIANGUAN_RECIEVERS; did you mean JIANGUAN_RECEIVERS?" in caplog.messages
