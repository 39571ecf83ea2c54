"""What a broker that does not let us in is taken to mean."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    RequestTimedOutError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from streams import login as module
from streams.broker import Broker, Login
from streams.login import RefusedError, let_in, refusal, was_closed

TLS = ssl.create_default_context()
LOGIN = Login("PLAIN", "jianguan", "not to be told")
WITH_LOGIN, WITH_TLS = Broker("k:9092", login=LOGIN), Broker("k:9092", TLS)
WITH_CERTIFICATE = Broker("k:9092", TLS, certificate=True)


def untrusted(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


def alert(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "brokers", "said"),
    [
        (SaslAuthenticationFailed("it failed\nat line 2"), WITH_LOGIN, "refuses the user jianguan (it failed): look"),
        (SaslAuthenticationFailed(None), WITH_LOGIN, "refuses the user jianguan: look at JIANGUAN_BROKER_USER"),
        (SaslAuthenticationFailed("x" * 9_999), WITH_LOGIN, "look at JIANGUAN_BROKER_USER"),
        (UnsupportedSaslMechanismError(), WITH_LOGIN, "does not offer PLAIN: set JIANGUAN_BROKER_MECHANISM"),
        (IllegalSaslStateError(), WITH_LOGIN, "set JIANGUAN_BROKER_PROTOCOL to PLAINTEXT"),
        (IllegalSaslStateError(), Broker("k:9092", TLS, LOGIN), "set JIANGUAN_BROKER_PROTOCOL to SSL"),
        (untrusted("unable to get local issuer certificate"), WITH_TLS, "JIANGUAN_BROKER_CA_FILE must have"),
        (untrusted("self-signed certificate in certificate chain"), WITH_TLS, "JIANGUAN_BROKER_CA_FILE must have"),
        (untrusted("Hostname mismatch, certificate is not valid for 'k'."), WITH_TLS, "as its certificate does"),
        (untrusted("IP address mismatch, certificate is not valid for '::1'."), WITH_TLS, "as its certificate does"),
        (untrusted("certificate has expired"), WITH_TLS, "renew it, or set the clock right"),
        (untrusted("certificate is not yet valid"), WITH_TLS, "renew it, or set the clock right"),
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), WITH_TLS, "asks for a client's certificate (certificate req"),
        (alert("SSLV3_ALERT_BAD_CERTIFICATE"), WITH_CERTIFICATE, "does not take our certificate (bad certificate)"),
        (alert("TLSV1_ALERT_UNKNOWN_CA"), WITH_CERTIFICATE, "does not take our certificate (unknown ca)"),
        (because(KafkaConnectionError(""), alert("SSLV3_ALERT_BAD_CERTIFICATE")), WITH_TLS, "asks for a client's"),
    ],
)  # fmt: skip
def test_a_refusal_is_a_sentence_with_the_setting(error: Exception, brokers: Broker, said: str) -> None:
    found = refusal(error, "k:9092", brokers)
    assert said in found
    assert "k:9092" in found
    assert "\n" not in found
    assert len(found) < 400
    assert LOGIN.password not in found


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connect call failed"),
        TimeoutError(),
        RequestTimedOutError(),
        KafkaConnectionError("Connection at k:9092 closed"),
        ConnectionResetError(),
        alert("WRONG_VERSION_NUMBER"),
        alert("TLSV1_ALERT_INTERNAL_ERROR"),
        ssl.SSLEOFError(8, "EOF occurred"),
    ],
)
def test_what_may_pass_is_no_refusal(error: Exception) -> None:
    for broker in (WITH_LOGIN, WITH_TLS, WITH_CERTIFICATE, Broker("k:9092")):
        assert refusal(error, "k:9092", broker) == ""


def test_only_a_server_that_took_the_connection_can_have_closed_it() -> None:
    assert was_closed(KafkaConnectionError("closed"))
    assert was_closed(ConnectionResetError())
    assert was_closed(because(OSError("handshake"), ssl.SSLEOFError(8, "EOF occurred")))
    assert not was_closed(ConnectionRefusedError())
    assert not was_closed(TimeoutError())


Answers = dict[tuple[str, int], Exception | list[tuple[str, int]]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What each server answers; whoever is not there does not."""
    found: Answers = {}

    async def ask(broker: Broker, place: tuple[str, int]) -> list[tuple[str, int]]:
        await asyncio.sleep(0)
        answer = found.get(place, ConnectionRefusedError(place))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "_brokers_known_to", ask)
    return found


ONE, TWO, THREE = ("a", 1), ("b", 2), ("c", 3)
SERVERS = Broker("a:1,b:2", login=LOGIN)
WRONG = SaslAuthenticationFailed("wrong")


async def test_one_server_that_lets_us_in_is_enough_while_others_are_away(answers: Answers) -> None:
    answers[TWO] = [TWO, THREE]
    await let_in(SERVERS)


async def test_when_none_answers_it_is_told_why(answers: Answers) -> None:
    with pytest.raises(ConnectionRefusedError):
        await let_in(SERVERS)


async def test_one_that_refuses_is_told_though_another_is_away_or_lets_us_in(answers: Answers) -> None:
    answers[TWO] = WRONG
    with pytest.raises(RefusedError, match="broker b:2 refuses"):
        await let_in(SERVERS)
    answers[ONE] = [ONE, TWO]
    with pytest.raises(RefusedError, match="broker b:2 refuses"):
        await let_in(SERVERS)


async def test_brokers_that_a_server_names_are_asked_too(answers: Answers) -> None:
    answers[ONE] = [THREE]
    answers[THREE] = WRONG
    with pytest.raises(RefusedError, match="broker c:3 refuses"):
        await let_in(SERVERS)
    answers[THREE] = []
    await let_in(SERVERS)


async def test_a_server_that_hangs_up_may_speak_another_protocol(answers: Answers) -> None:
    answers[ONE] = answers[TWO] = KafkaConnectionError("closed")
    with pytest.raises(KafkaConnectionError, match="another JIANGUAN_BROKER_PROTOCOL than SASL_PLAINTEXT"):
        await let_in(SERVERS)


async def test_a_defect_is_not_taken_for_a_broker_that_is_away(answers: Answers) -> None:
    answers[ONE] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await let_in(SERVERS)
