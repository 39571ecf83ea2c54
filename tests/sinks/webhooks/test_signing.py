"""Signatures: the published vector, rotation, and everything that a receiver must refuse."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.errors import ConfigurationError, InputError
from sinks.webhooks.signing import Secret, VerificationError, generate_secret, sign, verify

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = datetime.fromtimestamp(1614265330, UTC)
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OLD = Secret(b"o" * 24)
NEW = Secret(b"n" * 32)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def test_the_published_vector_of_standard_webhooks_is_met() -> None:
    headers = sign(VECTOR_ID, VECTOR_TIME, VECTOR_BODY, [Secret.parse(VECTOR_SECRET)])
    assert headers == {
        "webhook-id": VECTOR_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": VECTOR_SIGNATURE,
    }


@pytest.mark.parametrize("hours", [-12, -5, 0, 5.5, 8, 14])
def test_the_zone_of_the_time_does_not_change_the_signature(hours: float) -> None:
    elsewhere = VECTOR_TIME.astimezone(timezone(timedelta(hours=hours)))
    headers = sign(VECTOR_ID, elsewhere, VECTOR_BODY, [Secret.parse(VECTOR_SECRET)])
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == VECTOR_SIGNATURE


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InputError, match="without a zone"):
        sign("dl-1", datetime(2026, 3, 1), b"{}", [NEW])  # noqa: DTZ001


def test_parts_of_a_second_are_cut_off() -> None:
    headers = sign("dl-1", NOW + timedelta(milliseconds=999), b"{}", [NEW])
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))


def test_while_a_secret_is_replaced_both_signatures_are_sent_and_either_secret_verifies() -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW, OLD])
    assert [part[:3] for part in headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    assert verify(headers, b"{}", [OLD], NOW) == "dl-1"
    assert verify(headers, b"{}", [NEW], NOW) == "dl-1"
    with pytest.raises(VerificationError):
        verify(headers, b"{}", [Secret(b"x" * 24)], NOW)


def test_a_receiver_that_holds_both_secrets_accepts_one_signature() -> None:
    assert verify(sign("dl-1", NOW, b"{}", [OLD]), b"{}", [NEW, OLD], NOW) == "dl-1"


@given(body=st.binary(max_size=300), key=st.binary(min_size=24, max_size=64), seconds=st.integers(0, 4_000_000_000))
def test_what_is_signed_equals_the_plain_formula_and_verifies(body: bytes, key: bytes, seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    headers = sign("dl-0af3", moment, body, [Secret(key)])
    plain = hmac.new(key, b"dl-0af3." + str(seconds).encode() + b"." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(plain).decode()
    assert verify(headers, body, [Secret(key)], moment) == "dl-0af3"
    with pytest.raises(VerificationError):
        verify(headers, body + b" ", [Secret(key)], moment)


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nx: y", "案件", "a" * 257, "a\x00", "a\n"])
def test_an_id_that_cannot_be_signed_safely_is_refused(message_id: str) -> None:
    with pytest.raises(InputError) as caught:
        sign(message_id, NOW, b"{}", [NEW])
    assert caught.value.code == "webhook-id-invalid"


def test_signing_without_a_secret_is_refused() -> None:
    with pytest.raises(InputError, match="at least one secret"):
        sign("dl-1", NOW, b"{}", [])


def test_a_time_before_1970_is_refused() -> None:
    with pytest.raises(InputError, match="1970"):
        sign("dl-1", datetime(1969, 1, 1, tzinfo=UTC), b"{}", [NEW])


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str) -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW])
    del headers[name]
    with pytest.raises(VerificationError) as caught:
        verify(headers, b"{}", [NEW], NOW)
    assert (caught.value.code, caught.value.field) == ("webhook-header-missing", name)


def test_header_names_may_be_in_any_case() -> None:
    headers = {name.title(): value for name, value in sign("dl-1", NOW, b"{}", [NEW]).items()}
    assert verify(headers, b"{}", [NEW], NOW) == "dl-1"


@pytest.mark.parametrize(("seconds", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_time_outside_the_tolerance_is_a_replay(seconds: int, accepted: bool) -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW])
    if accepted:
        assert verify(headers, b"{}", [NEW], NOW + timedelta(seconds=seconds)) == "dl-1"
        return
    with pytest.raises(VerificationError) as caught:
        verify(headers, b"{}", [NEW], NOW + timedelta(seconds=seconds))
    assert caught.value.code == "webhook-timestamp-outside-tolerance"


@pytest.mark.parametrize("stamp", ["", "now", "1.5", "-5", "１７００００００００", "9" * 13, " 1", "1_0"])
def test_a_timestamp_that_is_not_seconds_is_refused(stamp: str) -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW]) | {"webhook-timestamp": stamp}
    with pytest.raises(VerificationError):
        verify(headers, b"{}", [NEW], NOW)


@pytest.mark.parametrize("field", ["webhook-id", "webhook-timestamp"])
def test_a_changed_id_or_time_does_not_verify(field: str) -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW])
    headers[field] = headers[field][:-1] + ("2" if headers[field][-1] != "2" else "3")
    with pytest.raises(VerificationError) as caught:
        verify(headers, b"{}", [NEW], NOW)
    assert caught.value.code == "webhook-signature-mismatch"


@pytest.mark.parametrize("value", ["v1,", "v1", "v1,dawfeoifkpqwoekfpqoekf", "v1,é", "x", " ", "v1,\udc80"])
def test_a_signature_that_is_nonsense_is_a_mismatch(value: str) -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW]) | {"webhook-signature": value}
    with pytest.raises(VerificationError):
        verify(headers, b"{}", [NEW], NOW)


def test_the_right_digest_under_another_version_does_not_count() -> None:
    headers = sign("dl-1", NOW, b"{}", [NEW])
    right = headers["webhook-signature"]
    with pytest.raises(VerificationError):
        verify(headers | {"webhook-signature": right.replace("v1,", "v1a,")}, b"{}", [NEW], NOW)
    assert verify(headers | {"webhook-signature": f"v1a,xx v2,yy v1,zz {right}"}, b"{}", [NEW], NOW) == "dl-1"


def test_a_secret_reads_back_what_it_shows_and_hides_itself_in_its_repr() -> None:
    secret = generate_secret(lambda count: bytes(range(count)))
    assert Secret.parse(secret.reveal()) == secret
    assert len(secret.key) == 32
    assert secret.reveal() not in repr(secret)
    assert repr(secret.key) not in repr(secret)


@pytest.mark.parametrize(
    "text",
    ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_MfKQ", "whsec_****", "whsec_" + "A" * 100],
)
def test_a_secret_of_the_wrong_form_or_length_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Secret.parse(text)
    assert not text.removeprefix("whsec_") or text.removeprefix("whsec_") not in str(caught.value)
    assert caught.value.__cause__ is None
