"""Apache Kafka that allows nothing by itself: the rights of the operator's guide are enough, and each is needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams import rights
from streams.broker import Broker, Login, client_options
from streams.topics import all_topics, ensure_topics
from tests.cluster.acls import Right, change, parse
from tests.cluster.kafka import KafkaCluster, leads_groups
from tests.cluster.system import Cluster
from tests.end_to_end.support import complaint, eventually, jianguan
from tests.repository import ROOT
from tests.requirements import own_kafka
from tests.streams.support import unique

pytestmark = [pytest.mark.kafka, pytest.mark.network]

PASSWORD: Final = "k8-Vq2z-secret"
USER, PREFIX, GROUP = "User:jianguan", "jianguan.", "jianguan"  # as the guide calls them


def of_the_guide() -> list[Right]:
    """What the commands of the guide allow."""
    text = (ROOT / "docs" / "operator.md").read_text("utf-8").partition("### Rights in Kafka")[2]
    block = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert block
    commands = block[1].replace("\\\n", " ").strip().splitlines()
    return [right for command in commands for right in parse(command)]


def rights_for(user: str, prefix: str, group: str) -> list[Right]:
    """Those of the guide, for another user, prefix and group."""
    names = {"topic": {PREFIX: prefix}, "group": {GROUP: group}}
    return [replace(each, principal=f"User:{user}", name=names[each.kind][each.name]) for each in of_the_guide()]


def test_the_table_of_the_guide_has_the_rights_of_its_commands() -> None:
    text = (ROOT / "docs" / "operator.md").read_text("utf-8").partition("### Rights in Kafka")[2].partition("```")[0]
    table = re.findall(r"^\| (topic|group)\S* .*?\| (\w+) \|", text, re.MULTILINE)
    assert table == [(each.kind, each.operation) for each in of_the_guide()]


@dataclass(frozen=True)
class Case:
    """A user who lacks something, and what is said of it; {topics} are all of them."""

    lacks: Sequence[tuple[str, str]]
    said: str
    topics_are_there: bool = True


LACKING: Final = {
    "no-read": Case([("topic", "Read")], "Read on the topics {topics}: add"),
    "no-write": Case([("topic", "Write")], "Write on the topics {topics}: add"),
    "no-topics": Case([("topic", "Read"), ("topic", "Write")], "Read and Write on the topics {topics}: add"),
    "no-create": Case([("topic", "Create")], "Create on the topics {topics}: add", topics_are_there=False),
    "no-group": Case([("group", "Read")], "Read on the group {group}: add"),
    "nothing": Case(
        [("topic", "Read"), ("topic", "Write"), ("topic", "Create"), ("group", "Read")],
        "Read and Write on the topics {topics}; and Read on the group {group}: add",
        topics_are_there=False,
    ),
}
USERS: Final = ("whole", "prepared", "taken", *LACKING)


@dataclass(frozen=True)
class Guarded:
    """A Kafka whose plain listener is the administrator's; the other asks who it is."""

    kafka: KafkaCluster
    password: Path

    def settings(self, user: str) -> dict[str, str]:
        """What an operator sets for the user."""
        return {
            "JIANGUAN_BROKER": self.kafka.address("TEAM"),
            "JIANGUAN_BROKER_PROTOCOL": "SASL_PLAINTEXT",
            "JIANGUAN_BROKER_MECHANISM": "PLAIN",
            "JIANGUAN_BROKER_USER": user,
            "JIANGUAN_BROKER_PASSWORD_FILE": str(self.password),
        }

    def allow(self, user: str, prefix: str, group: str, lacks: Sequence[tuple[str, str]] = ()) -> list[Right]:
        """Give the rights of the guide without some, and wait until they hold; what was given."""
        given = [each for each in rights_for(user, prefix, group) if (each.kind, each.operation) not in lacks]
        asyncio.run(self._allow(user, given))
        return given

    async def _allow(self, user: str, given: Sequence[Right]) -> None:
        # The last one given is for something of its own: the brokers take them in the order in which they were given.
        last = Right("group", unique("last"), "literal", f"User:{user}", "Read")
        await change(self.kafka.bootstrap, add=given)
        await change(self.kafka.bootstrap, add=[last])
        broker = Broker(self.kafka.address("TEAM"), login=Login("PLAIN", user, PASSWORD))
        admin = AIOKafkaAdminClient(**client_options(broker))
        await admin.start()
        try:
            async with asyncio.timeout(20):
                while await rights.denied(admin, [], last.name):  # noqa: ASYNC110 - the broker does not tell when
                    await asyncio.sleep(0.05)
        finally:
            await admin.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    own_kafka()
    folder = tmp_path_factory.mktemp("guarded")
    password = folder / "password"
    password.write_text(PASSWORD)
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    users = " ".join([f'user_{user}="{PASSWORD}"' for user in USERS])
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",  # who comes by the plain listener
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.team.plain.sasl.jaas.config": f"{plain} {users};",
    }
    with KafkaCluster(folder, settings=settings, listeners={"TEAM": "SASL_PLAINTEXT"}) as kafka:
        kafka.start()
        asyncio.run(leads_groups(kafka.bootstrap))
        yield Guarded(kafka, password)


MakeCluster = Callable[[str], Cluster]


@pytest.fixture
def cluster_of(guarded: Guarded, current_clickhouse_url: str, rules: Path, tmp_path: Path) -> Iterator[MakeCluster]:
    """A cluster of a user; nothing of it is started."""
    made: list[Cluster] = []

    def make(user: str) -> Cluster:
        cluster = Cluster(
            tmp_path / user,
            guarded.kafka.bootstrap,
            current_clickhouse_url,
            rules,
            partitions=2,
            settings=guarded.settings(user),
        )
        made.append(cluster)
        return cluster

    yield make
    for each in made:
        each.close()


def prepare(cluster: Cluster) -> str:
    """Make the topics, as an administrator; their names."""
    topics = all_topics(cluster.prefix, 2)
    asyncio.run(ensure_topics(cluster.bootstrap, topics))
    return ", ".join([each.name for each in topics])


@pytest.mark.slow
@pytest.mark.clickhouse
@pytest.mark.parametrize("prepared", [False, True], ids=["topics are made", "an administrator made the topics"])
def test_with_the_rights_of_the_guide_an_event_becomes_an_alert(
    guarded: Guarded, cluster_of: MakeCluster, prepared: bool
) -> None:
    user = "prepared" if prepared else "whole"
    cluster = cluster_of(user)
    if prepared:
        prepare(cluster)
    guarded.allow(user, cluster.prefix, cluster.group, [("topic", "Create")] if prepared else [])
    cluster.dashboards.start()
    worker = cluster.worker().start()
    now = datetime.now(UTC).isoformat()
    cluster.dashboards.send([complaint(number, now) for number in range(20)], "upload")
    cluster.quiet()
    found = cluster.stored()
    assert len(found["events"]) == 20
    assert found["alerts"]
    assert found["cases"]
    settings: dict[str, Any] = cluster.settings
    doctor = jianguan("doctor", **settings)
    assert f"✓ broker: {guarded.kafka.address('TEAM')} answers; 9 topics" in doctor.stdout
    for log in (worker.log, cluster.dashboards.log):
        assert "uthorization" not in log.read_text()
        assert "denies" not in log.read_text()


@pytest.mark.clickhouse
@pytest.mark.parametrize("user", LACKING)
def test_a_missing_right_is_told_in_a_sentence_with_the_code_of_a_setting(
    guarded: Guarded, cluster_of: MakeCluster, user: str
) -> None:
    case, cluster = LACKING[user], cluster_of(user)
    topics = ", ".join([each.name for each in all_topics(cluster.prefix, 2)])
    if case.topics_are_there:
        prepare(cluster)
    guarded.allow(user, cluster.prefix, cluster.group, case.lacks)
    said = f"the broker denies the user {user} {case.said.format(topics=topics, group=cluster.group)}"
    settings: dict[str, Any] = cluster.settings
    doctor = jianguan("doctor", **settings)
    assert doctor.returncode == 3
    assert f"✗ broker: {said}" in doctor.stdout
    worker, pages = ("worker", "--metrics-port", "0"), ("dashboards", "--port", "0")
    for command in (worker, pages) if user == "nothing" else (worker,):  # they ask in the same way
        ended = jianguan(*command, **settings)
        assert ended.returncode == 3
        assert "Traceback" not in ended.stdout + ended.stderr
        assert ended.stderr.strip().splitlines()[-1].startswith(f"error: {said}")


@pytest.mark.slow
@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("kind", "operation"), [("topic", "Read"), ("topic", "Write"), ("group", "Read")], ids=lambda each: each
)
def test_a_worker_that_loses_a_right_ends_with_the_sentence_and_the_pages_say_it(
    guarded: Guarded, cluster_of: MakeCluster, kind: str, operation: str
) -> None:
    cluster = cluster_of("taken")
    given = guarded.allow("taken", cluster.prefix, cluster.group)
    cluster.dashboards.start()
    worker = cluster.worker().start().restored()
    lost = [each for each in given if (each.kind, each.operation) == (kind, operation)]
    asyncio.run(change(cluster.bootstrap, remove=lost))
    assert worker.wait(40) == 5
    told = f"the broker denies the user taken {operation} on the {kind}"
    assert [line for line in worker.tail().splitlines() if "this worker ends" in line and told in line]
    eventually(lambda: told in httpx.get(f"{cluster.dashboards.url}/readyz", trust_env=False).text, 20, "the pages")
