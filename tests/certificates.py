"""Certificates of our own for tests, made by openssl: an authority, and what it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_KIND = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files. `both` has the key too, as a server wants it."""

    path: Path
    key: Path
    both: Path


class Authority:
    """A CA that nobody knows who is not told."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate = _made(folder, name, "basicConstraints=critical,CA:TRUE")
        self.path = self.certificate.path

    def sign(self, name: str, address: str = "127.0.0.1", password: str = "") -> Certificate:
        """A certificate for a server at `address`, or for a client; with a password its key is encrypted."""
        signed = ("-CA", str(self.path), "-CAkey", str(self.certificate.key))
        return _made(self._folder, name, f"subjectAltName=IP:{address}", *signed, password=password)


def _made(folder: Path, name: str, extension: str, *signed: str, password: str = "") -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.both.pem")
    protected = ("-passout", f"pass:{password}") if password else ("-nodes",)
    subprocess.run(
        ["openssl", "req", "-x509", *_KIND, *signed, "-subj", f"/CN={name}", "-addext", extension, *protected,
         "-keyout", str(made.key), "-out", str(made.path)],
        check=True, capture_output=True,
    )  # fmt: skip
    made.both.write_text(made.key.read_text() + made.path.read_text())
    return made
