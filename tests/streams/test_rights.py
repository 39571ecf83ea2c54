"""Which rights are taken to be missing, and how it is told. tests/cluster/test_rights.py asks a real Kafka."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, IncompatibleBrokerVersion

from streams.broker import Broker, Login
from streams.rights import GROUP_RIGHTS, TOPIC_RIGHTS, Operation, creation, denied, sentence

READ, WRITE, CREATE = Operation.READ, Operation.WRITE, Operation.CREATE
BROKER = Broker("k:9092", login=Login("PLAIN", "jianguan", "not to be told"))
ALL = 1 << READ | 1 << WRITE
UNTOLD = -(2**31)


class Admin:
    """Answers as a broker would; an exception is raised."""

    def __init__(self, topics: Any, coordinator: Any = 1, group: Any = (0, ALL)) -> None:
        self._topics, self._coordinator, self._group = topics, coordinator, group

    async def find_coordinator(self, group: str) -> int:
        return int(_told(self._coordinator))

    async def _send_request(self, request: Any, node: int | None = None) -> Any:
        if node is None:
            rows: list[Any] = [(code, name, False, [], allowed) for code, name, allowed in _told(self._topics)]
            return SimpleNamespace(topics=rows)
        code, allowed = _told(self._group)
        return SimpleNamespace(groups=[(code, "g", "Stable", "consumer", "range", [], allowed)])


def _told(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.mark.parametrize(
    ("code", "allowed", "missing"),
    [
        (0, ALL, None),
        (0, 1 << WRITE, [READ]),
        (0, 1 << READ, [WRITE]),
        (0, 1 << 8, [READ, WRITE]),
        (0, UNTOLD, None),
        (0, 0, None),
        (3, UNTOLD, None),  # it is not there
        (29, UNTOLD, TOPIC_RIGHTS),  # it may not even be seen
    ],
)
async def test_what_a_topic_lacks(code: int, allowed: int, missing: Any) -> None:
    found = await denied(Admin([(code, "t", allowed)]), ["t"], "g")
    assert found == ({("topic", "t"): missing} if missing else {})


@pytest.mark.parametrize(
    ("coordinator", "group", "missing"),
    [
        (1, (0, ALL), None),
        (1, (0, 1 << 8), [READ]),
        (1, (0, UNTOLD), None),
        (1, (30, UNTOLD), GROUP_RIGHTS),
        (1, (16, UNTOLD), None),
        (GroupAuthorizationFailedError(), None, GROUP_RIGHTS),
        (GroupCoordinatorNotAvailableError(), None, None),
    ],
)
async def test_what_a_group_lacks(coordinator: Any, group: Any, missing: Any) -> None:
    found = await denied(Admin([], coordinator, group), [], "g")
    assert found == ({("group", "g"): missing} if missing else {})


@pytest.mark.parametrize("error", [NotImplementedError(), IncompatibleBrokerVersion()])
async def test_a_broker_that_cannot_tell_is_taken_to_allow_everything(error: Exception) -> None:
    assert await denied(Admin(error, group=error), ["t"], "g") == {}


async def test_topics_are_told_in_the_order_in_which_they_were_asked_for() -> None:
    found = await denied(Admin([(29, "b", 0), (29, "a", 0)]), ["a", "b"], "g")
    assert list(found) == [("topic", "a"), ("topic", "b")]


def test_topics_that_lack_the_same_are_told_together() -> None:
    assert sentence(
        BROKER,
        {("topic", "a"): [READ, WRITE], ("topic", "b"): [READ, WRITE], ("topic", "c"): [READ], ("group", "g"): [READ]},
    ) == (
        "the broker denies the user jianguan Read and Write on the topics a, b; and Read on the topic c; and Read on"
        " the group g: add what is missing with kafka-acls.sh --add"
    )


def test_where_nothing_is_missing_nothing_is_said() -> None:
    assert sentence(BROKER, {}) == ""


def test_topics_that_may_not_be_made_can_be_made_by_somebody_else() -> None:
    assert creation("k:9092", ["a"]) == (
        "the broker denies this client Create on the topic a: add what is missing with kafka-acls.sh --add, or have an"
        " administrator make the topics that are not there"
    )
    assert str(CREATE) == "Create"
