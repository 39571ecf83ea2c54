"""Which rights in Kafka are missing that topics and group need, in a sentence that names each and says what to do.

The broker is asked what the one who asks may do (KIP-430), before anything is tried: the client takes a denied right
for a broker that is away, or fails with it late. A broker that does not tell, such as one older than 2.3, is taken to
allow everything. It must not know what the topics are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    NotCoordinatorError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from streams.broker import Broker, broker_at


class Operation(IntEnum):
    """What can be allowed; the number is Kafka's, and the bit that stands for it."""

    READ = 3
    WRITE = 4
    CREATE = 5

    def __str__(self) -> str:
        return self.name.capitalize()


TOPIC_RIGHTS: Final = (Operation.READ, Operation.WRITE)  # each of them has Describe in it
GROUP_RIGHTS: Final = (Operation.READ,)
_NOT_TOLD: Final = (NotImplementedError, IncompatibleBrokerVersion)  # by the client, of a broker that is too old

Denied = Mapping[tuple[str, str], Sequence[Operation]]
"""Operations that are not allowed, by resource: "topic" or "group", and its name."""


async def denied(admin: Any, topics: Sequence[str], group: str) -> dict[tuple[str, str], Sequence[Operation]]:
    """What the client of `admin`, which is connected, needs and may not do. The client's own errors (KafkaError,
    OSError) when the broker does not answer."""
    found = {("topic", name): operations for name, operations in (await _of_topics(admin, topics)).items()}
    if operations := await _of_group(admin, group):
        found["group", group] = operations
    return found


def sentence(broker: Broker | str, found: Denied) -> str:
    """What is denied to whom, and what to do; empty when nothing is."""
    by_operations: dict[tuple[str, tuple[Operation, ...]], list[str]] = {}
    for (kind, name), operations in found.items():
        by_operations.setdefault((kind, tuple(operations)), []).append(name)
    if not by_operations:
        return ""
    parts = [
        f"{' and '.join(map(str, operations))} on the {kind}{'s' if len(names) > 1 else ''} {', '.join(names)}"
        for (kind, operations), names in by_operations.items()
    ]
    login = broker_at(broker).login
    who = f"the user {login.user}" if login else "this client"
    return f"the broker denies {who} {'; and '.join(parts)}: add what is missing with kafka-acls.sh --add"


def creation(broker: Broker | str, names: Sequence[str]) -> str:
    """The sentence for topics that are not there and may not be made."""
    told = sentence(broker, {("topic", name): [Operation.CREATE] for name in names})
    return f"{told}, or have an administrator make the topics that are not there"


async def _of_topics(admin: Any, topics: Sequence[str]) -> dict[str, Sequence[Operation]]:
    try:
        answer = await admin._send_request(_TopicsRequest(topics))
    except _NOT_TOLD:
        return {}
    found: dict[str, Sequence[Operation]] = {}
    for code, name, _, _, allowed in answer.topics:
        if code == TopicAuthorizationFailedError.errno:
            found[name] = TOPIC_RIGHTS
        elif code == 0 and (missing := _missing(TOPIC_RIGHTS, allowed)):
            found[name] = missing
    return {name: found[name] for name in topics if name in found}  # brokers answer in an order of their own


async def _of_group(admin: Any, group: str) -> Sequence[Operation]:
    try:
        answer = await admin._send_request(_GroupsRequest([group]), await admin.find_coordinator(group))
    except GroupAuthorizationFailedError:
        return GROUP_RIGHTS
    except (GroupCoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
        return []  # a new broker makes the topic of its groups first; a group that is denied is known before that
    except _NOT_TOLD:
        return []
    (code, *_, allowed) = answer.groups[0]
    if code == GroupAuthorizationFailedError.errno:
        return GROUP_RIGHTS
    return _missing(GROUP_RIGHTS, allowed) if code == 0 else []


def _missing(wanted: Sequence[Operation], allowed: int) -> list[Operation]:
    """Those of `wanted` whose bit is not set. Nothing set, or the sign, is no answer: who sees it may Describe it."""
    return [each for each in wanted if not allowed >> each & 1] if allowed > 0 else []


# The client knows Metadata up to version 5, and takes the answer to version 3 of DescribeGroups for one of version 2.


class _TopicsResponse(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _TopicsRequest(Request[_TopicsStruct]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicsStruct]) -> _TopicsStruct:
        return request_struct_class(self._topics, False, False, True)


class _GroupsResponse(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member_id", String("utf-8")),
                        ("client_id", String("utf-8")),
                        ("client_host", String("utf-8")),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class _GroupsStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _GroupsRequest(Request[_GroupsStruct]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 15

    def __init__(self, groups: Sequence[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[_GroupsStruct]) -> _GroupsStruct:
        return request_struct_class(self._groups, True)
