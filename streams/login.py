"""Whether the brokers let us in, and if not, why: in a sentence that names the setting.

aiokafka tries every server, writes into its log why it failed, and then knows only that it did. So one connection to
each is opened here first, as its clients would.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from jianguan.errors import UnavailableError
from streams.broker import Broker, broker_at, connection_options

ANSWER_WITHIN: Final = 5.0  # seconds, for each server; one that is slower is not asked whether it lets us in
_LONGEST: Final = 200  # characters of what a broker says

Place: TypeAlias = tuple[str, int]


class RefusedError(UnavailableError):
    """A broker does not let us in, or is not the one that it should be. At a start it is a setting that is wrong."""


async def let_in(broker: Broker | str) -> None:
    """Return when a server lets us in and none of the brokers that it names refuses to.

    RefusedError when one refuses; the client's own error (KafkaError, OSError, TimeoutError) when none answers.
    """
    known = broker_at(broker)
    first = list(dict.fromkeys([(host, port) for host, port, _ in collect_hosts(known.servers)]))
    answers = await _asked(known, first)
    failed = [answer for answer in answers if isinstance(answer, Exception)]
    if failed and len(failed) == len(answers):
        raise failed[0]
    brokers = [place for answer in answers if not isinstance(answer, Exception) for place in answer]
    await _asked(known, list(dict.fromkeys([place for place in brokers if place not in first])))


async def _asked(broker: Broker, places: Sequence[Place]) -> list[Exception | list[Place]]:
    """The brokers that each place knows, or why it does not answer. RefusedError."""
    answers = await asyncio.gather(*[_brokers_known_to(broker, place) for place in places], return_exceptions=True)
    found: list[Exception | list[Place]] = []
    for (host, port), answer in zip(places, answers, strict=True):
        server = f"{host}:{port}"
        if isinstance(answer, list):
            found.append(answer)
        elif not isinstance(answer, (KafkaError, OSError, TimeoutError)):
            raise answer
        elif reason := refusal(answer, server, broker):
            raise RefusedError(reason) from answer
        elif was_closed(answer):
            closed = KafkaConnectionError(
                f"{server} ends the connection without an answer: does its listener ask for another"
                f" JIANGUAN_BROKER_PROTOCOL than {broker.protocol}?"
            )
            closed.__cause__ = answer
            found.append(closed)
        else:
            found.append(answer)
    return found


async def _brokers_known_to(broker: Broker, place: Place) -> list[Place]:
    host, port = place
    async with asyncio.timeout(ANSWER_WITHIN):
        connection = await create_conn(host, port, **connection_options(broker))
        try:
            answer = await connection.send(MetadataRequest([]))
        finally:
            connection.close()
    return [(each[1], each[2]) for each in answer.brokers]


def refusal(error: BaseException, server: str, broker: Broker) -> str:
    """Why the server does not let us in, or why we do not trust it, and what to do; empty for any other error."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _untrusted(each, server)
        reason = str(getattr(each, "reason", None) or "")  # which an error of the ssl module need not have
        if isinstance(each, ssl.SSLError) and _is_about_our_certificate(reason):
            given = "does not take our certificate" if broker.certificate else "asks for a client's certificate"
            return (
                f"the broker {server} {given} ({_words(reason)}): JIANGUAN_BROKER_CERTIFICATE_FILE and"
                " JIANGUAN_BROKER_KEY_FILE must be those of a client whose CA the broker knows"
            )
        if broker.login is None:
            continue
        if isinstance(each, SaslAuthenticationFailed):
            said = " ".join(str(part) for part in each.args if part).split("\n", 1)[0][:_LONGEST]
            return (
                f"the broker {server} refuses the user {broker.login.user}{f' ({said})' if said else ''}: look at"
                " JIANGUAN_BROKER_USER, at JIANGUAN_BROKER_PASSWORD_FILE and at JIANGUAN_BROKER_MECHANISM"
            )
        if isinstance(each, UnsupportedSaslMechanismError):
            return (
                f"the broker {server} does not offer {broker.login.mechanism}: set JIANGUAN_BROKER_MECHANISM to one of"
                " its listener's sasl.enabled.mechanisms"
            )
        if isinstance(each, IllegalSaslStateError):
            return (
                f"the listener {server} of the broker has no login: set JIANGUAN_BROKER_PROTOCOL to"
                f" {broker.protocol.removeprefix('SASL_')}, or name another listener in JIANGUAN_BROKER"
            )
    return ""


def was_closed(error: BaseException) -> bool:
    """Whether the server took the connection and then ended it, as it does with one that speaks another protocol."""
    found: Iterable[BaseException] = _chain(error)
    return any(isinstance(each, (KafkaConnectionError, ssl.SSLError, ConnectionResetError)) for each in found)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _untrusted(error: ssl.SSLCertVerificationError, server: str) -> str:
    said = str(getattr(error, "verify_message", error)).rstrip(".")
    if "mismatch" in said:
        return (
            f"the certificate of the broker {server} is not for that name ({said}): JIANGUAN_BROKER and the broker's"
            " advertised.listeners must name it as its certificate does"
        )
    if "expired" in said or "not yet valid" in said:
        return f"the certificate of the broker {server} is not valid now ({said}): renew it, or set the clock right"
    return (
        f"the certificate of the broker {server} is not trusted ({said}): JIANGUAN_BROKER_CA_FILE must have the"
        " certificate of the CA that signed it"
    )


def _is_about_our_certificate(reason: str) -> bool:
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _words(reason: str) -> str:
    return reason.partition("ALERT_")[2].replace("_", " ").lower()
