"""The one root of all errors that this project raises on purpose.

Every error says what is wrong, where, and what to do. Anything else that escapes is a defect.
"""

from __future__ import annotations


class JianguanError(Exception):
    """Root. `str()` is a sentence for a person; `exit_code` is what a command ends with."""

    exit_code = 1


class ConfigurationError(JianguanError):
    """A setting, a data file or the machine does not allow a start."""

    exit_code = 3


class InputError(JianguanError):
    """A record that came from outside cannot be used.

    `code` is a stable slug for machines (`unknown-region`), `field` the dotted path that is at fault, or "".
    """

    exit_code = 4

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class SourceError(JianguanError):
    """A fault in a file that a person wrote: a rule, a mapping, a test. Lines and columns count from 1."""

    exit_code = 4

    def __init__(self, message: str, path: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.path, self.line, self.column) if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.hint})" if self.hint else text


class UnavailableError(JianguanError):
    """A broker, a store or a receiver does not answer now; the same call may work later."""

    exit_code = 5
