"""The brokers and how they are connected to: one value that every client of them is made from.

Nothing else says how a connection is encrypted and who logs in. Pure: it opens no file and no connection;
jianguan/wiring/broker.py makes the value from the settings, and streams/login.py tries it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

from faust.auth import SASLCredentials, SSLCredentials


@dataclass(frozen=True, slots=True)
class Login:
    """A user of Kafka. `mechanism` is SASL's: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. Its text shows no password."""

    mechanism: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Broker:
    """`servers` is host:port, or several with commas. Without `tls` nothing is encrypted, without `login` nobody logs
    in. `certificate`: whether `tls` shows the brokers one of ours; it does not tell itself."""

    servers: str
    tls: ssl.SSLContext | None = None
    login: Login | None = None
    certificate: bool = False

    def __str__(self) -> str:
        return self.servers

    @property
    def protocol(self) -> str:
        """As Kafka names it: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return ("SASL_" if self.login else "") + ("SSL" if self.tls else "PLAINTEXT")


def broker_at(broker: Broker | str) -> Broker:
    """The broker itself; of a plain address one without TLS and login, such as the embedded one."""
    return Broker(broker) if isinstance(broker, str) else broker


def connection_options(broker: Broker | str) -> dict[str, Any]:
    """How aiokafka connects, wherever to."""
    known = broker_at(broker)
    options: dict[str, Any] = {"security_protocol": known.protocol, "ssl_context": known.tls}
    if known.login is not None:
        options |= {
            "sasl_mechanism": known.login.mechanism,
            "sasl_plain_username": known.login.user,
            "sasl_plain_password": known.login.password,
        }
    return options


def client_options(broker: Broker | str) -> dict[str, Any]:
    """What a consumer, a producer or an admin client of aiokafka is told of the brokers."""
    return {"bootstrap_servers": broker_at(broker).servers, **connection_options(broker)}


def faust_credentials(broker: Broker | str) -> Any:
    """The same for Faust, which makes its clients itself; None when there is nothing to tell."""
    known = broker_at(broker)
    if known.login is not None:
        return SASLCredentials(
            username=known.login.user,
            password=known.login.password,
            mechanism=known.login.mechanism,
            ssl_context=known.tls,
        )
    return None if known.tls is None else SSLCredentials(known.tls)
