"""Signs a webhook and verifies a signature, by Standard Webhooks 1.0, symmetric scheme (`v1`, HMAC-SHA256).

Pure: time, secrets and randomness are passed in. It must not know receivers, HTTP or retries. `verify` is what
a department may copy into its own receiver.

The signed content is `{webhook-id}.{webhook-timestamp}.{body}`, as bytes, exactly as sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jianguan.errors import ConfigurationError, InputError

SECRET_PREFIX = "whsec_"  # noqa: S105  (the public prefix, not a secret)
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
GENERATED_SECRET_BYTES = 32

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

DEFAULT_TOLERANCE = timedelta(minutes=5)

# A full stop would let one signed content be read as another; spaces and controls have no place in a header.
_MESSAGE_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURES_MAX = 32


class VerificationError(InputError):
    """A webhook that must not be believed. `code` says why; `field` is the header at fault."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A signing key. Its repr never shows it; `reveal` does, for the one moment when it is handed over."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not SECRET_BYTES_MIN <= len(self.key) <= SECRET_BYTES_MAX:
            raise ConfigurationError(
                f"a webhook secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, this one has {len(self.key)}"
            )

    @classmethod
    def parse(cls, text: str) -> Secret:
        """Reads `whsec_<base64>`. Raises ConfigurationError, which does not repeat the text."""
        stripped = text.strip()
        if not stripped.startswith(SECRET_PREFIX):
            raise ConfigurationError(f"a webhook secret starts with {SECRET_PREFIX}")
        try:
            key = base64.b64decode(stripped[len(SECRET_PREFIX) :], validate=True)
        except (binascii.Error, ValueError):
            # Without the cause: its text could show a part of the secret.
            raise ConfigurationError(f"after {SECRET_PREFIX} a webhook secret is standard base64") from None
        return cls(key)

    def reveal(self) -> str:
        """`whsec_<base64>`, to be given to the receiver over a safe channel, never to a log."""
        return SECRET_PREFIX + base64.b64encode(self.key).decode("ascii")


def generate_secret(random_bytes: Callable[[int], bytes]) -> Secret:
    """A new secret of 32 bytes; `random_bytes` is `secrets.token_bytes` outside tests."""
    return Secret(random_bytes(GENERATED_SECRET_BYTES))


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join((message_id.encode("utf-8", "surrogateescape"), timestamp.encode("ascii"), body))
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")


def sign(message_id: str, timestamp: datetime, body: bytes, secrets: Sequence[Secret]) -> dict[str, str]:
    """The three headers of one attempt.

    `timestamp` is the time of this attempt, aware, in any zone: the header is the same instant's Unix seconds,
    rounded down. `secrets` are all that are valid now, the newest first; each gives one signature, so that a
    receiver can change from the old to the new one at its own time.
    Raises InputError for an id or a time that cannot be signed safely, or when there is no secret.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise InputError(
            "webhook-id-invalid",
            "a webhook id is 1 to 256 visible ASCII characters without a full stop",
            ID_HEADER,
        )
    if timestamp.tzinfo is None or timestamp.utcoffset() is None:
        raise InputError("webhook-timestamp-naive", "a time without a zone cannot be signed", TIMESTAMP_HEADER)
    if not secrets:
        raise InputError("webhook-secret-missing", "a webhook needs at least one secret", SIGNATURE_HEADER)
    seconds = str(int(timestamp.timestamp() // 1))
    if not _TIMESTAMP.fullmatch(seconds):
        raise InputError("webhook-timestamp-invalid", "a time before 1970 cannot be signed", TIMESTAMP_HEADER)
    signatures = (f"v1,{_signature(secret.key, message_id, seconds, body)}" for secret in secrets)
    return {ID_HEADER: message_id, TIMESTAMP_HEADER: seconds, SIGNATURE_HEADER: " ".join(signatures)}


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secrets: Sequence[Secret],
    now: datetime,
    tolerance: timedelta = DEFAULT_TOLERANCE,
) -> str:
    """What a receiver does with a request: returns the webhook id, or raises VerificationError.

    `body` is the raw body, not JSON written again. Header names may be in any case. The receiver must also
    remember the returned id and ignore it when it comes again: delivery is at least once.
    """
    if now.tzinfo is None or now.utcoffset() is None:
        raise ValueError("`now` needs a time with a zone")
    by_name = {name.lower(): value for name, value in headers.items()}
    for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER):
        if not by_name.get(name):
            raise VerificationError("webhook-header-missing", f"the header {name} is missing", name)
    stamp = by_name[TIMESTAMP_HEADER]
    if not _TIMESTAMP.fullmatch(stamp):
        raise VerificationError("webhook-timestamp-invalid", "the timestamp is not Unix seconds", TIMESTAMP_HEADER)
    if abs(now.timestamp() - int(stamp)) > tolerance.total_seconds():
        raise VerificationError(
            "webhook-timestamp-outside-tolerance",
            "the timestamp is too far from now: a replay, or a clock that is wrong",
            TIMESTAMP_HEADER,
        )
    offered = [
        value.encode("utf-8", "surrogateescape")
        for version, _, value in (part.partition(",") for part in by_name[SIGNATURE_HEADER].split(" "))
        if version == "v1"
    ][:_SIGNATURES_MAX]
    matched = False
    # No early end: how long it takes must not tell which secret or which signature was nearly right.
    for secret in secrets:
        expected = _signature(secret.key, by_name[ID_HEADER], stamp, body).encode("ascii")
        for candidate in offered:
            matched |= hmac.compare_digest(expected, candidate)
    if not matched:
        raise VerificationError("webhook-signature-mismatch", "no signature matches", SIGNATURE_HEADER)
    return by_name[ID_HEADER]
