"""The data folder: whether it can be written, asked before anything relies on it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jianguan.errors import ConfigurationError
from jianguan.wiring.secret_files import reason_of


def make_writable(folder: Path, *, option: bool) -> None:
    """Make `folder` unless it is there, and try to write in it. ConfigurationError says why it cannot be, and what to
    choose another with: `option` is whether the process has --data. Blocking."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_in(folder)
    except OSError as error:
        raise _unwritable(folder, error, option) from None


def could_be_written(folder: Path, *, option: bool) -> None:
    """The same without making `folder`: tries the nearest folder above it that is there. Blocking."""
    nearest = folder
    while not nearest.exists():
        nearest = nearest.parent
    try:
        if nearest == folder:
            _write_in(folder)
        else:
            with tempfile.TemporaryDirectory(dir=nearest, prefix=f".{folder.name}-"):
                pass
    except OSError as error:
        raise _unwritable(folder, error, option) from None


def _write_in(folder: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
        pass


def _unwritable(folder: Path, error: OSError, option: bool) -> ConfigurationError:
    setting = "--data or JIANGUAN_DATA" if option else "JIANGUAN_DATA"
    return ConfigurationError(
        f"the data folder {folder} cannot be written ({reason_of(error)}): choose another with {setting}"
    )
