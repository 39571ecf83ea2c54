"""Installs pip into the Python that runs this, when nothing on the machine can: Debian's python3 has none.

Uses the standard library alone. It takes the newest wheel of pip that the package index lists (PIP_INDEX_URL, else
PyPI), checks it against the hash that the index gives, and lets pip install itself from it. With PIP_WHEEL the wheel
is a file that is here already.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path
from urllib.parse import urldefrag, urljoin
from urllib.request import Request, urlopen

SIMPLE = "https://pypi.org/simple"
_LINK = re.compile(r'<a\s[^>]*href="([^"]+)"[^>]*>\s*(pip-([0-9.]+)-py3-none-any\.whl)\s*</a>')
_SECONDS = 60


def newest(page: str, base: str) -> tuple[str, str, str]:
    """(address, sha256, file name) of the newest release of pip on an index page. ValueError when there is none."""
    found = [
        (tuple(int(part) for part in version.split(".")), urljoin(base, unescape(link)), name)
        for link, name, version in _LINK.findall(page)
    ]
    if not found:
        raise ValueError(f"{base} lists no wheel of pip")
    _, link, name = max(found)
    address, fragment = urldefrag(link)
    if not fragment.startswith("sha256="):
        raise ValueError(f"{base} gives no sha256 for {name}")
    return address, fragment.removeprefix("sha256="), name


def _read(address: str) -> bytes:
    if not address.startswith(("https://", "http://127.0.0.1")):
        raise ValueError(f"{address} is not https")
    request = Request(address, headers={"User-Agent": "jianguan-fetch-pip", "Accept": "text/html, */*"})  # noqa: S310 - checked above
    with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - checked above
        content: bytes = answer.read()
    return content


def fetch(folder: Path) -> Path:
    """The wheel, in `folder`."""
    index = os.environ.get("PIP_INDEX_URL", SIMPLE).rstrip("/") + "/pip/"
    address, digest, name = newest(_read(index).decode(), index)
    content = _read(address)
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{name} is not what the index says it is")
    wheel = folder / name
    wheel.write_bytes(content)
    return wheel


def main() -> int:
    """0 when pip is there."""
    given = os.environ.get("PIP_WHEEL")
    with tempfile.TemporaryDirectory() as folder:
        try:
            wheel = Path(given) if given else fetch(Path(folder))
        except (OSError, ValueError) as error:
            sys.stderr.write(f"pip cannot be fetched: {error}\n")
            return 1
        # A wheel of pip runs from inside its own archive.
        command = [sys.executable, f"{wheel}/pip", "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
        return subprocess.run(command, check=False).returncode  # noqa: S603 - our own interpreter and file


if __name__ == "__main__":
    sys.exit(main())
