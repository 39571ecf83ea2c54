"""A full disk: nothing is acknowledged that is not kept, it says so, and after some room and a restart it goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.support import START, System, complaint, eventually, stored

SIZE = 192  # MB
LIVES = 2
UPLOAD = 50  # events
BEFORE_FULL = 2_000  # events of a life


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


def _answers(system: System) -> bool:
    try:
        system.find(0.1)
        return bool(system.checks())
    except AssertionError:
        return False


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk: Path, rules: Path, now: str) -> None:
    system = System(small_disk / "data", JIANGUAN_RULES=str(rules))
    system.log = small_disk.with_name("log")
    try:
        system.start()
        system.send([complaint(number, now) for number in range(100)], "before")
        system.settled("before", 100)
        filler = fill(small_disk)
        taken, status = 0, 202
        while status == 202 and taken < 1_000:
            event = complaint(1_000 + taken, now, text="预付卡" * 1_000)
            response = system.http.post("/v1/events", json=event, headers={"jianguan-submission": "full"})
            status = response.status_code
            taken += status == 202
        assert status == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert "journal" in response.json()["detail"]
        assert system.http.get("/healthz").status_code == 200
        eventually(lambda: not system.checks()["ready"], 10, "readyz to tell")

        # Started again before there is room, it may refuse, but nothing is lost by it.
        system.stop()
        system.spawn()
        eventually(lambda: system.process.poll() is not None or _answers(system), START, "an end, or an answer")
        system.close()

        filler.unlink()
        system.start()
        if taken:
            assert system.settled("full", taken)["accepted"] >= taken
        assert system.outcomes("before") == {"accepted": 100}
        system.send([complaint(5_000, now)], "after")
        assert system.settled("after", 1) == {"accepted": 1}
        assert system.stop() == 0
    finally:
        system.close()


def test_a_disk_that_fills_up_while_events_flow_loses_nothing_that_was_acknowledged(
    small_disk: Path, rules: Path, now: str
) -> None:
    """Not what was stored before either: merges write it again, and the engine does not say when it cannot."""
    system = System(small_disk / "data", JIANGUAN_RULES=str(rules))
    system.log = small_disk.with_name("log")
    acknowledged: dict[str, int] = {}
    try:
        for life in range(LIVES):
            system.start()
            name, taken, status = f"life-{life}", 0, 202
            filling = ThreadPoolExecutor(1)
            while status == 202 and taken < 100_000:
                if taken == BEFORE_FULL:
                    filled = filling.submit(fill, small_disk)
                events = [complaint(life * 100_000 + taken + each, now) for each in range(UPLOAD)]
                body = b"\n".join(json.dumps(each, ensure_ascii=False).encode() for each in events)
                status = system.post(body, name).status_code
                taken += UPLOAD * (status == 202)
            assert status == 503
            acknowledged[name] = taken
            filler = filled.result()
            filling.shutdown()
            system.kill()
            filler.unlink()
        system.start()
        for name, taken in acknowledged.items():
            assert system.settled(name, taken, 60)["accepted"] >= taken
        system.quiet()
        assert system.stop() == 0
        assert len(stored(small_disk / "data")["events"]) >= sum(acknowledged.values())
    finally:
        system.close()
