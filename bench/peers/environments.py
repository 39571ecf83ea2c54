"""An environment of its own for each peer, with the versions that are pinned in pins/, made once in a cache folder.

The folder is JIANGUAN_BENCH_CACHE, else `jianguan/bench-peers` in the user's cache.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Final

PINS: Final = Path(__file__).with_name("pins")


class NotInstalledError(Exception):
    """A peer could not be installed; the message is what pip said."""


def cache() -> Path:
    """Where environments are kept."""
    own = os.environ.get("JIANGUAN_BENCH_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jianguan" / "bench-peers"


async def interpreter(name: str) -> Path:
    """The Python of the environment `name`, made if it is not there or its pins changed. NotInstalledError: why not."""
    pins = PINS / f"{name}.txt"
    digest = blake2b(pins.read_bytes() + sys.version.encode(), digest_size=6).hexdigest()
    folder = cache() / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if (folder / "installed").is_file():
        return python
    sys.stderr.write(f"installing {name} into {folder}\n")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    await _run(sys.executable, "-m", "venv", str(folder))
    pip = (str(python), "-I", "-m", "pip", "--disable-pip-version-check")  # isolated: it must not see this checkout
    await _run(*pip, "install", "--quiet", "--no-deps", "-r", str(pins))
    await _run(*pip, "check")
    (folder / "installed").touch()
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise NotInstalledError(output.decode(errors="replace").strip()[-2_000:])
