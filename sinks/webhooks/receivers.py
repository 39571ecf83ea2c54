"""Who gets webhooks: a department's receiver, and the YAML file that lists them.

It must not know HTTP or retries. A secret comes from a file, from the environment, or (for trials) from the list
itself, and is never shown: not in a repr, not in an error.

    receivers:
      - id: shanghai-market
        department: market-regulation
        url: https://hooks.example.gov.cn/jianguan
        secret_file: secrets/shanghai-market   # beside this file; one secret a line, the newest first
        # or secret_env: NAME, or secret: whsec_..., or secrets: [a list of such] while one is replaced
        allow_private: false                    # may it be a private or loopback address?
        allow_http: false                       # may it be without TLS?
        disabled: false
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from jianguan.errors import ConfigurationError, SourceError
from sinks.webhooks.signing import Secret
from sinks.webhooks.targets import TargetPolicy, TargetRefusedError, check_url

FILE_BYTES_MAX = 1024 * 1024
SECRET_FILE_BYTES_MAX = 16 * 1024
SECRETS_MAX = 8

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SECRET_KEYS = ("secret", "secret_file", "secret_env")
_FLAGS = ("allow_private", "allow_http", "disabled")
_KEYS = frozenset(("id", "department", "url", "secrets", *_SECRET_KEYS, *_FLAGS))


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where a department takes its webhooks. The repr has no URL (its path may hold a token) and no secret."""

    id: str
    department: str
    url: str = field(repr=False)
    secrets: tuple[Secret, ...] = field(repr=False)
    allow_private: bool = False
    allow_http: bool = False
    disabled: bool = False

    @property
    def policy(self) -> TargetPolicy:
        """What is allowed for this receiver's address."""
        return TargetPolicy(allow_http=self.allow_http, allow_private=self.allow_private)


def load_receivers(path: Path, environ: Mapping[str, str] | None = None) -> tuple[Receiver, ...]:
    """Reads the list in the file's order. `environ` is the process's own when None.

    Raises SourceError with line and column for a fault in the file, and for a secret that cannot be read.
    """
    environment = os.environ if environ is None else environ
    root = _compose(path)
    reader = _Reader(path, environment)
    if root is None:
        raise SourceError("the file is empty", str(path), hint="it needs `receivers:`")
    top = reader.mapping(root, frozenset(("receivers",)))
    if "receivers" not in top:
        raise reader.fault(root, "`receivers` is missing")
    items = top["receivers"]
    if not isinstance(items, yaml.SequenceNode):
        raise reader.fault(items, "`receivers` is a list")
    seen: dict[str, int] = {}
    receivers: list[Receiver] = []
    for item in items.value:
        receiver = reader.receiver(item)
        if receiver.id in seen:
            raise reader.fault(item, f"the receiver {receiver.id!r} is already in line {seen[receiver.id]}")
        seen[receiver.id] = item.start_mark.line + 1
        receivers.append(receiver)
    return tuple(receivers)


def _compose(path: Path) -> yaml.Node | None:
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror}", str(path)) from error
    if len(raw) > FILE_BYTES_MAX:
        raise SourceError(f"the file is larger than {FILE_BYTES_MAX} bytes", str(path))
    try:
        node: yaml.Node | None = yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise SourceError(f"this is not YAML: {error.problem}", str(path), line, column) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        # Their texts repeat a piece of the file, which may be a secret.
        raise SourceError("this is not YAML in UTF-8", str(path)) from None
    except RecursionError:
        raise SourceError("the file is nested too deeply", str(path)) from None
    return node


class _Reader:
    """Turns nodes into receivers, and a fault into file, line and column."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ

    def fault(self, node: yaml.Node, message: str, hint: str = "") -> SourceError:
        mark = node.start_mark
        return SourceError(message, str(self._path), mark.line + 1, mark.column + 1, hint)

    def mapping(self, node: yaml.Node, allowed: frozenset[str]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fault(node, "here stands a mapping")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value not in allowed:
                # An unknown key is not repeated: a secret is easily put in the wrong place.
                raise self.fault(key, "this key is not known", "known: " + ", ".join(sorted(allowed)))
            if key.value in found:
                raise self.fault(key, f"`{key.value}` stands here twice")
            found[key.value] = value
        return found

    def text(self, node: yaml.Node, name: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str" or not node.value.strip():
            raise self.fault(node, f"`{name}` is a text", "put it in quotes")
        return str(node.value)

    def flag(self, fields: Mapping[str, yaml.Node], name: str) -> bool:
        node = fields.get(name)
        if node is None:
            return False
        if not isinstance(node, yaml.ScalarNode) or node.value not in ("true", "false"):
            raise self.fault(node, f"`{name}` is true or false")
        return bool(node.value == "true")

    def receiver(self, node: yaml.Node) -> Receiver:
        fields = self.mapping(node, _KEYS)
        for name in ("id", "department", "url"):
            if name not in fields:
                raise self.fault(node, f"`{name}` is missing")
        identity = self.text(fields["id"], "id")
        if not _ID.fullmatch(identity):
            raise self.fault(fields["id"], "an id is small letters, digits, - and _, at most 64 of them")
        receiver = Receiver(
            id=identity,
            department=self.text(fields["department"], "department"),
            url=self.text(fields["url"], "url"),
            secrets=self.secrets(node, fields),
            allow_private=self.flag(fields, "allow_private"),
            allow_http=self.flag(fields, "allow_http"),
            disabled=self.flag(fields, "disabled"),
        )
        try:
            check_url(receiver.url, receiver.policy)
        except TargetRefusedError as error:
            raise self.fault(fields["url"], str(error)) from None
        return receiver

    def secrets(self, node: yaml.Node, fields: Mapping[str, yaml.Node]) -> tuple[Secret, ...]:
        named = [name for name in ("secrets", *_SECRET_KEYS) if name in fields]
        if len(named) != 1:
            raise self.fault(node, "a receiver has exactly one of secret_file, secret_env, secret and secrets")
        source = fields[named[0]]
        if named[0] != "secrets":
            found = self.secret(named[0], source)
        elif isinstance(source, yaml.SequenceNode):
            found = ()
            for item in source.value:
                entry = self.mapping(item, frozenset(_SECRET_KEYS))
                if len(entry) != 1:
                    raise self.fault(item, "each secret is one of secret_file, secret_env and secret")
                found += self.secret(*next(iter(entry.items())))
        else:
            raise self.fault(source, "`secrets` is a list")
        unique = tuple(dict.fromkeys(found))
        if not 1 <= len(unique) <= SECRETS_MAX:
            raise self.fault(source, f"a receiver has 1 to {SECRETS_MAX} secrets")
        return unique

    def secret(self, kind: str, node: yaml.Node) -> tuple[Secret, ...]:
        value = self.text(node, kind)
        lines = [value]
        if kind == "secret_env":
            if not _ENV_NAME.fullmatch(value):
                raise self.fault(node, "`secret_env` is the name of an environment variable")
            if not self._environ.get(value, "").strip():
                raise self.fault(node, f"the environment variable {value} is not set")
            lines = [self._environ[value]]
        elif kind == "secret_file":
            lines = self._secret_lines(node, value)
        try:
            return tuple(Secret.parse(line) for line in lines)
        except ConfigurationError as error:
            raise self.fault(node, str(error)) from None

    def _secret_lines(self, node: yaml.Node, name: str) -> list[str]:
        path = self._path.parent / name
        try:
            with path.open("rb") as stream:
                text = stream.read(SECRET_FILE_BYTES_MAX).decode("ascii")
        except OSError as error:
            raise self.fault(node, f"the secret file cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise self.fault(node, "the secret file is not plain ASCII text") from None
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise self.fault(node, "the secret file is empty")
        return lines
