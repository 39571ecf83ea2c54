"""What the tests' own cluster takes for its workers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.cluster.system import Cluster


def test_a_worker_that_ended_is_not_taken_for_the_process_that_has_its_number_now(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "127.0.0.1:1", "clickhouse://127.0.0.1:1", tmp_path)
    ended = SimpleNamespace(pid=os.getpid(), poll=lambda: 0)
    cluster.worker()._process = cast("subprocess.Popen[bytes]", ended)
    cluster.close()
