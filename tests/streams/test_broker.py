"""Every client of the brokers connects as one value says, and no text of that value has the password."""

from __future__ import annotations

import ast
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.app import FaustOptions, create_app
from streams.broker import Broker, Login, broker_at, client_options, connection_options, faust_credentials
from tests.repository import ROOT

TLS = ssl.create_default_context()
LOGIN = Login("SCRAM-SHA-512", "jianguan", "not to be told")
EVERY = [
    pytest.param(Broker("k:9092"), "PLAINTEXT", id="plain"),
    pytest.param(Broker("k:9092", tls=TLS), "SSL", id="tls"),
    pytest.param(Broker("k:9092", login=LOGIN), "SASL_PLAINTEXT", id="login"),
    pytest.param(Broker("k:9092", TLS, LOGIN), "SASL_SSL", id="both"),
]
MODULES = [path for folder in ("jianguan", "streams") for path in sorted((ROOT / folder).rglob("*.py"))]
# It asks the child process that it has just started, on loopback.
EMBEDDED = "jianguan/embedded/broker.py"
# It is told as Faust's own consumer beside it.
ENDS = "streams/transport/ends.py"


@pytest.mark.parametrize(("brokers", "protocol"), EVERY)
def test_a_client_is_told_servers_protocol_certificates_and_user(brokers: Broker, protocol: str) -> None:
    options = client_options(brokers)
    assert options["bootstrap_servers"] == "k:9092"
    assert options["security_protocol"] == protocol
    assert options["ssl_context"] is brokers.tls
    assert options.get("sasl_mechanism") == (LOGIN.mechanism if brokers.login else None)
    assert options.get("sasl_plain_username") == (LOGIN.user if brokers.login else None)
    assert options.get("sasl_plain_password") == (LOGIN.password if brokers.login else None)
    assert {**connection_options(brokers), "bootstrap_servers": "k:9092"} == options


@pytest.mark.parametrize(("brokers", "protocol"), EVERY)
def test_fausts_clients_connect_as_all_others(brokers: Broker, protocol: str, tmp_path: Path) -> None:
    options = {name: value for name, value in connection_options(brokers).items() if value is not None}
    told = credentials_to_aiokafka_auth(faust_credentials(brokers))
    assert {name: value for name, value in told.items() if value is not None} == options
    app = create_app(FaustOptions("app", brokers, tmp_path))
    assert app.conf.ssl_context is None
    consumer = credentials_to_aiokafka_auth(app.conf.broker_credentials, app.conf.ssl_context)
    producer = app.producer._settings_auth()
    assert consumer["security_protocol"] == producer["security_protocol"] == protocol
    assert consumer.get("ssl_context") is producer.get("ssl_context") is brokers.tls


def test_a_plain_address_is_a_broker_without_tls_and_login() -> None:
    assert broker_at("k:9092,l:9092") == Broker("k:9092,l:9092")
    assert client_options("k:9092") == client_options(Broker("k:9092"))
    assert faust_credentials("k:9092") is None
    broker = Broker("k:9092", TLS, LOGIN)
    assert broker_at(broker) is broker


def test_no_text_has_the_password(tmp_path: Path) -> None:
    broker = Broker("k:9092", TLS, LOGIN)
    options = FaustOptions("app", broker, tmp_path)
    for each in (LOGIN, broker, options, faust_credentials(broker), create_app(options).conf.broker_credentials):
        assert LOGIN.password not in f"{each!r} {each}"
    assert str(broker) == "k:9092"


def clients(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that make a client of aiokafka."""
    for node in ast.walk(tree):
        name: Any = getattr(node, "func", None)
        if isinstance(node, ast.Call) and isinstance(name, ast.Name) and name.id.startswith("AIOKafka"):
            yield node


def test_no_client_is_made_that_is_not_told_so() -> None:
    found = {
        str(path.relative_to(ROOT)): ["client_options" in ast.unparse(call) for call in clients(tree)]
        for path in MODULES
        if (tree := ast.parse(path.read_text("utf-8")))
    }
    made = {path: told for path, told in found.items() if told}
    assert {path for path, told in made.items() if not all(told)} == {EMBEDDED, ENDS}
    assert sum(map(len, made.values())) > 8
