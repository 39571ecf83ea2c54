"""Who gets which partitions: the same numbers of every topic, evenly, and as few moves as an even share allows.

A case is the work of one worker only if its alerts and its commands, partition by partition, go to the same one; so
partitions are shared out by number and not one by one. A number that moves costs a fold of its state, so a worker keeps
those that it has. Which it has it tells the group itself, with the round that gave them to it: one that was away and
claims what others have got since is told by that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

log = logging.getLogger(__name__)

NAME: Final = "jianguan-together"
VERSION: Final = 1


class Claim(NamedTuple):
    """What a member had: the numbers of partitions, and the round of the group in which it got them."""

    round: int = 0
    numbers: tuple[int, ...] = ()


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Claim).decode


def share(count: int, claims: Mapping[str, Claim]) -> dict[str, set[int]]:
    """The numbers 0..count-1 shared out among the members of `claims`: no two members differ by more than one, and a
    member keeps what it rightly claims as far as that allows."""
    shares: dict[str, set[int]] = {member: set() for member in sorted(claims)}
    if not shares:
        return shares
    rightful: dict[int, str] = {}
    for member in sorted(claims, key=lambda each: (-claims[each].round, each)):
        for number in claims[member].numbers:
            if number < count:
                rightful.setdefault(number, member)
    for number in sorted(rightful):
        shares[rightful[number]].add(number)
    least, more = divmod(count, len(shares))
    by_size = sorted(shares, key=lambda member: (-len(shares[member]), member))
    room = {member: least + (place < more) for place, member in enumerate(by_size)}
    for member in by_size:
        shares[member] = set(sorted(shares[member])[: room[member]])
    free = sorted(set(range(count)).difference(*shares.values()))
    for member in by_size:
        while free and len(shares[member]) < room[member]:
            shares[member].add(free.pop(0))
    return shares


def _claim(user_data: bytes) -> Claim:
    try:
        return _decode(user_data)
    except msgspec.DecodeError:
        return Claim()  # a member that has had nothing yet


class TogetherAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka is untyped here
    """One for each consumer: it remembers what it was given last."""

    name = NAME
    version = VERSION

    def __init__(self) -> None:
        self._claim = Claim()

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member tells the group when it joins."""
        return ConsumerProtocolMemberMetadata(VERSION, sorted(topics), _encode(self._claim))

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Called in one member, for all. Every partition of every topic that somebody reads goes to one of its readers:
        to the one that has its number, unless that one does not read the topic, as in an upgrade that adds one."""
        claims = {member: _claim(metadata.user_data) for member, metadata in members.items()}
        readers: dict[str, list[str]] = {}
        for member in sorted(members):
            for topic in members[member].subscription:
                readers.setdefault(topic, []).append(member)
        widths: dict[str, set[int]] = {}
        for topic in sorted(readers):
            widths[topic] = cluster.partitions_for_topic(topic) or set()
            if not widths[topic]:
                log.warning("the topic %s is not known to the broker and is read by nobody", topic)
        count = 1 + max([number for numbers in widths.values() for number in numbers], default=-1)
        owner = {number: member for member, numbers in share(count, claims).items() for number in numbers}
        given: dict[str, dict[str, list[int]]] = {member: {} for member in members}
        for topic, numbers in widths.items():
            for number in sorted(numbers):
                member = owner[number] if owner[number] in readers[topic] else readers[topic][0]
                given[member].setdefault(topic, []).append(number)
        this = 1 + max([claim.round for claim in claims.values()], default=0)
        return {
            member: ConsumerProtocolMemberAssignment(
                VERSION,
                sorted(topics.items()),
                _encode(Claim(this, tuple(sorted({number for each in topics.values() for number in each})))),
            )
            for member, topics in given.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """Remember what this member was given."""
        self._claim = _claim(assignment.user_data)


__all__ = ["Claim", "TogetherAssignor", "share"]
