"""Apache Kafka that asks for TLS and a login: every client of ours gets in, and who is refused is told why at once."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from jianguan.errors import ConfigurationError, UnavailableError
from jianguan.settings import load_settings
from jianguan.wiring.broker import broker_of
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.tail import read_tail
from streams.app import FaustOptions, create_app
from streams.broker import Broker, client_options
from streams.topics import TopicName, TopicSpec, ensure_topics, look_at_topics
from streams.transport.batch import batch_topic, each_run
from streams.transport.ends import end_offsets
from streams.transport.run import Run
from tests.certificates import Authority
from tests.cluster.kafka import KafkaCluster, leads_groups
from tests.cluster.system import Cluster
from tests.end_to_end.support import complaint, jianguan
from tests.requirements import own_kafka, require
from tests.streams.support import QUICK, running, unique, until, values

pytestmark = [pytest.mark.kafka, pytest.mark.network]

USER: Final = "jianguan"
PASSWORD: Final = "k8-Vq2 z-secret"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
LISTENERS: Final = {"TEAM": "SASL_SSL", "OPEN": "SASL_PLAINTEXT", "TLS": "SSL", "MUTUAL": "SSL", "ELSEWHERE": "SSL"}


@dataclass(frozen=True)
class Protected:
    """A Kafka with a listener for each way to connect, and the files that a client needs."""

    kafka: KafkaCluster
    authority: Path
    stranger: Path  # a CA that the broker does not know, and that does not know the broker
    certificate: Path
    key: Path
    key_password: Path
    unknown: Authority
    password: Path
    wrong: Path

    def settings(self, listener: str, **changes: str) -> dict[str, str]:
        """What an operator sets to reach the listener; an empty change takes a setting away."""
        protocol = LISTENERS.get(listener, "PLAINTEXT")
        found = {
            "JIANGUAN_BROKER": self.kafka.address(listener) if listener in LISTENERS else self.kafka.bootstrap,
            "JIANGUAN_BROKER_PROTOCOL": protocol,
        }
        if "SASL" in protocol:
            found["JIANGUAN_BROKER_MECHANISM"] = "SCRAM-SHA-512"
            found["JIANGUAN_BROKER_USER"] = USER
            found["JIANGUAN_BROKER_PASSWORD_FILE"] = str(self.password)
        if protocol.endswith("SSL"):
            found["JIANGUAN_BROKER_CA_FILE"] = str(self.authority)
        if listener == "MUTUAL":
            found["JIANGUAN_BROKER_CERTIFICATE_FILE"] = str(self.certificate)
            found["JIANGUAN_BROKER_KEY_FILE"] = str(self.key)
            found["JIANGUAN_BROKER_KEY_PASSWORD_FILE"] = str(self.key_password)
        found |= {f"JIANGUAN_BROKER_{name.upper()}": value for name, value in changes.items()}
        return {name: value for name, value in found.items() if value}

    def broker(self, listener: str, **changes: str) -> Broker:
        """The broker that these settings make."""
        given = {
            name.removeprefix("JIANGUAN_").lower(): value for name, value in self.settings(listener, **changes).items()
        }
        return broker_of(load_settings(store="clickhouse://127.0.0.1/none", **given))


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    own_kafka()
    require("openssl")
    folder = tmp_path_factory.mktemp("protected")
    ours, stranger = Authority(folder / "ours"), Authority(folder / "stranger")
    server, elsewhere = ours.sign("broker"), ours.sign("elsewhere", "127.0.0.9")
    client = ours.sign("client", password=PASSWORD)
    password, wrong = folder / "password", folder / "wrong"
    password.write_text(f"{PASSWORD}\n")
    wrong.write_text("wrong-as-can-be\n")
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ours.path),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": str(elsewhere.both),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        **{
            f"listener.name.{name}.plain.sasl.jaas.config": f'{_PLAIN} user_{USER}="{PASSWORD}";'
            for name in ("team", "open")
        },
        **{f"listener.name.{name}.scram-sha-512.sasl.jaas.config": _SCRAM for name in ("team", "open")},
    }
    users = [f'SCRAM-SHA-512=[name={USER},password="{PASSWORD}"]']
    with KafkaCluster(folder, settings=settings, listeners=LISTENERS, users=users) as kafka:
        kafka.start()
        asyncio.run(leads_groups(kafka.bootstrap))
        yield Protected(kafka, ours.path, stranger.path, client.path, client.key, password, stranger, password, wrong)


@pytest.mark.parametrize(
    ("listener", "changes"),
    [
        ("TEAM", {}),
        ("TEAM", {"mechanism": "PLAIN"}),
        ("OPEN", {}),
        ("OPEN", {"mechanism": "plain"}),
        ("TLS", {}),
        ("MUTUAL", {}),
    ],
)
async def test_topics_are_made_and_an_event_goes_in_and_comes_out_in_every_way_to_connect(
    protected: Protected, listener: str, changes: Mapping[str, str], tmp_path: Path
) -> None:
    broker = protected.broker(listener, **changes)
    topic = unique("topic")
    assert await ensure_topics(broker, [TopicSpec(topic, 1)]) == [topic]
    assert (await look_at_topics(broker, [TopicSpec(topic, 1)]))[topic].partitions == 1
    producer = AIOKafkaProducer(**client_options(broker))
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"one")
    finally:
        await producer.stop()
    runs: list[Run] = []
    app = create_app(
        FaustOptions(
            unique("app"),
            broker,
            tmp_path,
            session_timeout=3.0,
            heartbeat_interval=0.5,
            commit_interval=3600.0,
            batch=QUICK,
        )
    )

    async def agent(stream: Any) -> None:
        async for run in each_run(stream):
            runs.append(run)

    app.agent(batch_topic(app, topic), name="agent")(agent)
    async with running(app):
        await until(lambda: bool(runs))
        await (await app.producer.send(topic, None, b"two", 0, None, []))
        await until(lambda: len(values(runs)) == 2)
        place = TopicPartition(topic, 0)
        assert await app.consumer._thread._highwaters([place]) == {place: 2}  # as tables ask
    assert values(runs) == [b"one", b"two"]
    assert await end_offsets([place], **client_options(broker)) == {place: 2}


async def test_positions_and_the_tail_are_asked_over_such_a_connection(protected: Protected) -> None:
    broker, prefix = protected.broker("TEAM"), unique("positions")
    await ensure_topics(broker, [TopicSpec(TopicName.RECORDS.under(prefix), 1)])
    positions = GroupPositions(broker, unique("group"), prefix, 1)
    try:
        producer = AIOKafkaProducer(**client_options(broker))
        await producer.start()
        await producer.send_and_wait(TopicName.RECORDS.under(prefix), b"no frame")
        await producer.stop()
        assert await positions.ends([TopicName.RECORDS]) == {("records", 0): 1}
        assert (await read_tail(broker, prefix, positions)).alerts == set()
    finally:
        await positions.close()


REFUSALS: Final = [
    pytest.param(
        "TEAM", {"password_file": "WRONG"}, "refuses the user jianguan .*JIANGUAN_BROKER_PASSWORD_FILE", id="scram"
    ),
    pytest.param(
        "TEAM",
        {"password_file": "WRONG", "mechanism": "PLAIN"},
        "refuses the user jianguan .*JIANGUAN_BROKER_PASSWORD_FILE",
        id="plain",
    ),
    pytest.param("OPEN", {"user": "nobody"}, "refuses the user nobody .*JIANGUAN_BROKER_USER", id="user"),
    pytest.param(
        "TEAM",
        {"mechanism": "SCRAM-SHA-256"},
        "does not offer SCRAM-SHA-256: set JIANGUAN_BROKER_MECHANISM",
        id="mechanism",
    ),
    pytest.param("TLS", {"ca_file": "STRANGER"}, "is not trusted .*JIANGUAN_BROKER_CA_FILE", id="stranger"),
    pytest.param("TEAM", {"ca_file": ""}, "is not trusted .*JIANGUAN_BROKER_CA_FILE", id="no ca"),
    pytest.param("ELSEWHERE", {}, "is not for that name .*advertised.listeners", id="name"),
    pytest.param(
        "MUTUAL",
        {"certificate_file": "", "key_file": "", "key_password_file": ""},
        "asks for a client's certificate .*JIANGUAN_BROKER_CERTIFICATE_FILE",
        id="no certificate",
    ),
    pytest.param(
        "MUTUAL",
        {"certificate_file": "UNKNOWN", "key_file": "UNKNOWN", "key_password_file": ""},
        "does not take our certificate .*JIANGUAN_BROKER_CERTIFICATE_FILE",
        id="unknown certificate",
    ),
]


def changes_of(protected: Protected, changes: Mapping[str, str]) -> dict[str, str]:
    files = {"WRONG": protected.wrong, "STRANGER": protected.stranger, "UNKNOWN": protected.unknown.certificate.both}
    return {name: str(files.get(value, value)) for name, value in changes.items()}


@pytest.mark.parametrize(("listener", "changes", "said"), REFUSALS)
async def test_who_is_refused_hears_the_setting_at_a_start_and_while_running(
    protected: Protected, listener: str, changes: Mapping[str, str], said: str
) -> None:
    broker = protected.broker(listener, **changes_of(protected, changes))
    with pytest.raises(ConfigurationError, match=said) as told:
        await ensure_topics(broker, [TopicSpec("t", 1)])
    assert "\n" not in str(told.value)
    positions = GroupPositions(broker, "group", "", 1)
    with pytest.raises(UnavailableError, match=said):
        await positions.ends([TopicName.FACTS])
    assert positions.refusal
    await positions.close()


@pytest.mark.parametrize(
    ("listener", "protocol"),
    [("TLS", "PLAINTEXT"), ("TEAM", "PLAINTEXT"), ("OPEN", "PLAINTEXT"), ("PLAIN", "SSL"), ("TEAM", "SSL")],
)
async def test_a_listener_of_another_protocol_is_suspected_when_it_hangs_up(
    protected: Protected, listener: str, protocol: str
) -> None:
    address = protected.settings(listener)["JIANGUAN_BROKER"]
    authority = {"broker_ca_file": str(protected.authority)} if protocol == "SSL" else {}
    settings = load_settings(broker=address, store="clickhouse://h/d", broker_protocol=protocol, **authority)
    with pytest.raises(UnavailableError, match=f"another JIANGUAN_BROKER_PROTOCOL than {protocol}"):
        await ensure_topics(broker_of(settings), [TopicSpec("t", 1)], deadline=10)


async def test_a_login_where_there_is_none_is_told(protected: Protected) -> None:
    broker = protected.broker("OPEN")
    with pytest.raises(ConfigurationError, match="has no login: set JIANGUAN_BROKER_PROTOCOL to PLAINTEXT"):
        await ensure_topics(Broker(protected.kafka.bootstrap, login=broker.login), [TopicSpec("t", 1)])


def last_line(ended: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in ended.stdout + ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr
    assert "wrong-as-can-be" not in ended.stdout + ended.stderr
    return ended.stderr.strip().splitlines()[-1]


@pytest.mark.clickhouse
@pytest.mark.parametrize("command", [("worker", "--metrics-port", "0"), ("dashboards", "--port", "0")])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password_file": "WRONG"}, "refuses the user jianguan"),
        ({"password_file": "WRONG", "mechanism": "PLAIN"}, "refuses the user jianguan"),
        ({"ca_file": "STRANGER"}, "is not trusted"),
    ],
)
def test_a_process_that_is_refused_ends_at_once_with_a_sentence_and_the_code_of_a_setting(
    protected: Protected,
    current_clickhouse_url: str,
    command: tuple[str, ...],
    changes: Mapping[str, str],
    said: str,
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {
        **protected.settings("TEAM", **changes_of(protected, changes)),
        "JIANGUAN_STORE": f"{current_clickhouse_url}/{unique('db').replace('-', '_')}",
        "JIANGUAN_DATA": str(tmp_path),
        "JIANGUAN_LOG_LEVEL": "DEBUG",
    }
    ended = jianguan(*command, **settings)
    assert ended.returncode == 3
    assert last_line(ended).startswith("error: the ")
    assert said in last_line(ended)


def test_the_doctor_gets_in_and_tells_who_does_not(protected: Protected, tmp_path: Path) -> None:
    store = {"JIANGUAN_STORE": "clickhouse://127.0.0.1:1/none", "JIANGUAN_DATA": str(tmp_path)}
    settings: dict[str, Any] = {**protected.settings("TEAM"), **store}
    well = jianguan("doctor", **settings)
    assert f"✓ broker: {protected.kafka.address('TEAM')} answers" in well.stdout
    ill = jianguan("doctor", **{**settings, "JIANGUAN_BROKER_PASSWORD_FILE": str(protected.wrong)})
    assert ill.returncode == 3
    assert "✗ broker: the broker 127.0.0.1:" in ill.stdout
    assert "refuses the user jianguan" in ill.stdout
    assert ill.stderr == ""


@pytest.mark.slow
@pytest.mark.clickhouse
def test_a_whole_cluster_works_over_such_connections(
    protected: Protected, current_clickhouse_url: str, rules: Path, tmp_path: Path
) -> None:
    now = datetime.now(UTC).isoformat()
    bootstrap = protected.kafka.bootstrap  # the test's own clients take the plain listener
    settings = protected.settings("TEAM")
    with Cluster(
        tmp_path / "cluster", bootstrap, current_clickhouse_url, rules, partitions=2, settings=settings
    ) as cluster:
        cluster.dashboards.start()
        worker = cluster.worker().start()
        cluster.dashboards.send([complaint(number, now) for number in range(20)], "upload")
        cluster.quiet()
        found = cluster.stored()
        assert len(found["events"]) == 20
        assert found["alerts"]
        assert found["cases"]
        assert PASSWORD not in worker.log.read_text() + cluster.dashboards.log.read_text()
