"""Reference tables and what is derived from them: codes, calendars, statutory clocks, the key of the reporter hash."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jianguan.clock import Clock
from jianguan.domain.admission import Reference as Codes
from jianguan.domain.industries import Industries
from jianguan.domain.masking import LONGEST_KEY
from jianguan.domain.regions import Regions
from jianguan.domain.statutory import StatutoryClocks
from jianguan.domain.working_days import WorkingDays
from jianguan.errors import ConfigurationError
from jianguan.settings import Settings
from jianguan.wiring.folder import make_writable
from rules.departments import Departments
from rules.reference import Reference
from rules.ruleset import RuleSet

log = logging.getLogger(__name__)

KEY_FILE: Final = "reporter-hash.key"
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Tables:
    """All reference tables of this installation."""

    rules: Reference
    codes: Codes
    folders: tuple[Path, ...]


def load_reference(settings: Settings, clock: Clock) -> Reference:
    """The tables that rules lean on. Blocking; the errors name the file."""
    year = clock.now().year
    # Next year's holidays are announced late in the year: until then its weekends alone count, and `doctor` says so.
    working_days = WorkingDays.load(settings.calendars, provisional_years=(year, year + 1))
    return Reference(
        Regions.load(settings.regions),
        Industries.load(settings.industries),
        working_days,
        StatutoryClocks.load(),
        Departments.load(),
    )


def rule_folders(settings: Settings) -> tuple[Path, ...]:
    """Where the rules are: the operator's folders, or the shipped library. ConfigurationError for one that is not
    there."""
    for folder in settings.rules:
        if not folder.exists():
            raise ConfigurationError(f"JIANGUAN_RULES names {folder}, and there is no such folder of rules")
    return settings.rules or (RuleSet.library_path(),)


def load_tables(settings: Settings, clock: Clock) -> Tables:
    """Every reference table, and the key of the reporter hash, which is made if it is not there. Blocking."""
    reference = load_reference(settings, clock)
    if not (settings.embedded or (settings.data / KEY_FILE).exists()):
        log.warning(
            "%s is not there and is made anew: complaints of one reporter are matched only if all workers have one key",
            settings.data / KEY_FILE,
        )
    codes = Codes(reference.regions, reference.industries, hash_key(settings.data))
    return Tables(reference, codes, rule_folders(settings))


def hash_key(folder: Path) -> bytes:
    """The key of the reporter hash: made once, kept in `folder`, readable by the owner only. Blocking."""
    path = folder / KEY_FILE
    try:
        key = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        make_writable(folder, option=False)  # `up`, which has one, made the folder before
        _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    if len(key) < _KEY_BYTES:
        raise ConfigurationError(
            f"{path} is too short for a key; restore it from a backup, or remove it to make a new one"
        )
    if len(key) > LONGEST_KEY:
        raise ConfigurationError(
            f"{path} has {len(key)} bytes, and a key has at most {LONGEST_KEY}: was a line end put after it?"
        )
    return key


def _make_key(path: Path) -> None:
    """Put a new key at `path`, whole or not at all; one that another process has put there meanwhile stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
