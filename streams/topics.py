"""The topics of the application: their names, their creation, and the check that they are what was asked for.

Brokers and Faust both create topics by themselves, with a number of partitions of their own choosing; the
key of a record then lies in another partition than the code believes. So topics are made here, before
anything else touches them, and a topic of the wrong width stops the start.
It must not know what is in the topics.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from jianguan.errors import ConfigurationError, UnavailableError
from streams import rights
from streams.broker import Broker, broker_at, client_options
from streams.login import RefusedError, let_in

LONGEST_NAME = 249
LARGEST_MESSAGE = 4 * 1024 * 1024  # bytes; brokers take 1 MiB by default, and a record in quarantine is kept whole
_LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]+")
_RETRY_INTERVAL = 0.05


class TopicName(StrEnum):
    """Every topic of the application, without the prefix."""

    COMPLAINTS = "complaints"
    VIOLATIONS = "violations"
    CONSUMER_RIGHTS = "consumer-rights"
    FACTS = "facts"
    ALERTS = "alerts"
    COMMANDS = "commands"
    DELIVERIES = "deliveries"
    RECORDS = "records"
    QUARANTINE = "quarantine"

    def under(self, prefix: str) -> str:
        """The name on the broker. Raises ConfigurationError if the broker would not take it."""
        name = f"{prefix}{self.value}"
        if not _LEGAL_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ConfigurationError(
                f"the topic prefix {prefix!r} does not make a legal topic name: use letters, digits, "
                f"'.', '_' and '-', and at most {LONGEST_NAME} characters with the name"
            )
        return name


SOURCES = (TopicName.COMPLAINTS, TopicName.VIOLATIONS, TopicName.CONSUMER_RIGHTS)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be. `config` is the broker's, such as {"retention.ms": "604800000"}; used on creation."""

    name: str
    partitions: int
    replication_factor: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


def all_topics(prefix: str, partitions: int, replication_factor: int = 1) -> tuple[TopicSpec, ...]:
    """Every topic of the application, each with the same number of partitions."""
    config = {"max.message.bytes": str(LARGEST_MESSAGE)}
    if replication_factor > 1:
        # A broker takes a record by default when it alone has it, and the record is lost with that broker.
        config["min.insync.replicas"] = str((replication_factor + 1) // 2)
    return tuple(TopicSpec(name.under(prefix), partitions, replication_factor, config) for name in TopicName)


def mismatches(wanted: Iterable[TopicSpec], found: Mapping[str, int]) -> list[str]:
    """A sentence for each topic of `wanted` whose number of partitions in `found` is another one."""
    return [
        f"topic {spec.name}: wanted {spec.partitions} partitions, found {found[spec.name]}"
        for spec in wanted
        if spec.name in found and found[spec.name] != spec.partitions
    ]


async def ensure_topics(
    broker: Broker | str, wanted: Sequence[TopicSpec], deadline: float = 20.0, group: str = ""
) -> list[str]:
    """Create the topics that are missing, check them all, and return the names of those created.

    A plain `broker` is host:port, or several with commas; `deadline` is in seconds. With a `group` it is checked that
    the topics may be written and be read in it.
    Raises ConfigurationError if a topic has another number of partitions, naming every such topic, and creates none
    then, if the broker does not let us in, and if a right is missing; UnavailableError if it does not answer, or does
    not show the topics, within the deadline.
    """
    names = [spec.name for spec in wanted]
    async with _asked(broker, deadline) as admin:
        await _check_rights(broker, admin, names, group)  # a topic that may not be seen looks like one that is missing
        existing = set(await admin.list_topics())
        missing = [spec for spec in wanted if spec.name not in existing]
        # Before any is made: those would have the wrong width too, and be in the way of the right one.
        check_widths(wanted, await _partitions(admin, [name for name in names if name in existing]))
        await _create(broker, admin, missing)
        check_widths(wanted, await _partitions(admin, names))
        if missing:
            await _check_rights(broker, admin, [spec.name for spec in missing], group)
    return [spec.name for spec in missing]


class FoundTopic(NamedTuple):
    """A topic as it is."""

    partitions: int
    replicas: int  # of the partition that has fewest


async def look_at_topics(
    broker: Broker | str, wanted: Sequence[TopicSpec], deadline: float = 20.0, group: str = ""
) -> dict[str, FoundTopic]:
    """Those of the topics that are there, of whatever width. Changes nothing. With a `group` it is also checked that
    those which are not there may be made. Other errors as of `ensure_topics`."""
    async with _asked(broker, deadline) as admin:
        await _check_rights(broker, admin, [spec.name for spec in wanted], group)
        there = set(await admin.list_topics())  # asking for an unknown topic would create it
        known = broker_at(broker)
        if group and (known.login or known.certificate):  # nobody else has rights of its own
            await _create(broker, admin, [spec for spec in wanted if spec.name not in there], only_try=True)
        there.intersection_update([spec.name for spec in wanted])
        described = await admin.describe_topics(sorted(there)) if there else []
    return {
        entry["topic"]: FoundTopic(
            len(entry["partitions"]), min([len(each["replicas"]) for each in entry["partitions"]], default=0)
        )
        for entry in described
    }


@asynccontextmanager
async def _asked(broker: Broker | str, deadline: float) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**client_options(broker), request_timeout_ms=int(deadline * 1000))
    try:
        async with asyncio.timeout(deadline):
            await let_in(broker)
            await admin.start()
            yield admin
    except RefusedError as exc:
        # Nobody waits for a user that is refused: it, or its password, is most likely mistyped.
        raise ConfigurationError(str(exc)) from exc
    except (KafkaError, OSError, TimeoutError) as exc:
        raise UnavailableError(f"the broker {broker} does not give its topics: {exc!r}") from exc
    finally:
        await admin.close()


def check_widths(wanted: Sequence[TopicSpec], found: Mapping[str, int]) -> None:
    """ConfigurationError that names every topic of another width, and says what to do."""
    if wrong := mismatches(wanted, found):
        raise ConfigurationError(
            "; ".join(wrong) + ". Set the number of partitions to what is there, or delete the topics and start "
            "again, or use another topic prefix: adding partitions would put keys into other partitions"
        )


async def _check_rights(broker: Broker | str, admin: Any, names: Sequence[str], group: str) -> None:
    if group and (told := rights.sentence(broker, await rights.denied(admin, names, group))):
        raise ConfigurationError(told)


async def _create(broker: Broker | str, admin: Any, specs: Sequence[TopicSpec], only_try: bool = False) -> None:
    if not specs:
        return
    try:
        response = await admin.create_topics(
            [
                NewTopic(spec.name, spec.partitions, spec.replication_factor, topic_configs=dict(spec.config))
                for spec in specs
            ],
            validate_only=only_try,
        )
    except TopicAlreadyExistsError:
        return  # another worker starts at the same time; the check that follows sees what it made
    denied = {name for name, code, *_ in response.topic_errors if code == TopicAuthorizationFailedError.errno}
    if denied:
        raise ConfigurationError(rights.creation(broker, [spec.name for spec in specs if spec.name in denied]))
    for name, code, *_ in response.topic_errors:
        if code == InvalidReplicationFactorError.errno:
            raise ConfigurationError(
                f"the broker does not create topic {name} with {specs[0].replication_factor} replicas: has the cluster"
                " so many brokers, and do all run? Start them, or set JIANGUAN_REPLICATION to what there is"
            )
        if code not in (0, TopicAlreadyExistsError.errno):
            raise ConfigurationError(f"the broker does not create topic {name}: {for_code(code).__name__}")


async def _partitions(admin: Any, names: Sequence[str]) -> dict[str, int]:
    """Number of partitions by topic, asked again until the broker knows them all."""
    if not names:
        return {}
    while True:
        known = set(await admin.list_topics())
        if known.issuperset(names):  # asking for an unknown topic would create it
            described = {entry["topic"]: entry for entry in await admin.describe_topics(list(names))}
            if all(name in described and described[name]["partitions"] for name in names):
                return {name: len(described[name]["partitions"]) for name in names}
        await asyncio.sleep(_RETRY_INTERVAL)
