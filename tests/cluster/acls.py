"""Rights in a Kafka of the tests: what kafka-acls.sh does, whose jar is not among ours, for the options of the guide.

rights = parse("kafka-acls.sh … --add --allow-principal User:u --operation Read --group g")
await change(kafka.bootstrap, add=rights)
await change(kafka.bootstrap, remove=rights[:1])
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

_ALLOW: Final = 3
_OPERATIONS: Final = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
_KINDS: Final = {"topic": 2, "group": 3}
_PATTERNS: Final = {"literal": 3, "prefixed": 4}
_ACL: Final = (
    ("kind", Int8),
    ("name", String("utf-8")),
    ("pattern", Int8),
    ("principal", String("utf-8")),
    ("host", String("utf-8")),
    ("operation", Int8),
    ("permission", Int8),
)


@dataclass(frozen=True)
class Right:
    """One ACL that allows something."""

    kind: str
    name: str
    pattern: str
    principal: str
    operation: str

    def row(self) -> tuple[int, str, int, str, str, int, int]:
        """As Kafka takes it."""
        kind, pattern, operation = _KINDS[self.kind], _PATTERNS[self.pattern], _OPERATIONS[self.operation]
        return kind, self.name, pattern, self.principal, "*", operation, _ALLOW


def parse(command: str) -> list[Right]:
    """The rights that one command adds. An option that it does not know is an error."""
    parser = argparse.ArgumentParser("kafka-acls.sh", exit_on_error=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--command-config", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", choices=list(_OPERATIONS), required=True)
    parser.add_argument("--topic", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--resource-pattern-type", choices=list(_PATTERNS), default="literal")
    program, *arguments = shlex.split(command)
    assert program == "kafka-acls.sh"
    given = parser.parse_args(arguments)
    return [
        Right(kind, name, given.resource_pattern_type, given.allow_principal, operation)
        for kind, names in (("topic", given.topic), ("group", given.group))
        for name in names
        for operation in given.operation
    ]


async def change(bootstrap: str, add: Sequence[Right] = (), remove: Sequence[Right] = ()) -> None:
    """Add and remove rights, by a listener where one may; brokers learn of it soon after."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for request, rights in ((_CreateAcls, add), (_DeleteAcls, remove)):
            if rights:
                answer = await admin._send_to_controller(request([right.row() for right in rights]))
                assert [result[0] for result in answer.results] == [0] * len(rights), answer
    finally:
        await admin.close()


class _CreateResponse(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(("throttle_time_ms", Int32), ("results", Array(("code", Int16), ("message", String("utf-8")))))


class _CreateStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _CreateResponse
    SCHEMA = Schema(("creations", Array(*_ACL)))


class _CreateAcls(Request[_CreateStruct]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 30

    def __init__(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: type[_CreateStruct]) -> _CreateStruct:
        return request_struct_class(self._rows)


class _DeleteResponse(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 31
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("code", Int16),
                ("message", String("utf-8")),
                ("matching", Array(("code", Int16), ("message", String("utf-8")), *_ACL)),
            ),
        ),
    )


class _DeleteStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 31
    API_VERSION = 1
    RESPONSE_TYPE = _DeleteResponse
    SCHEMA = Schema(("filters", Array(*_ACL)))


class _DeleteAcls(Request[_DeleteStruct]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 31

    def __init__(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: type[_DeleteStruct]) -> _DeleteStruct:
        return request_struct_class(self._rows)
