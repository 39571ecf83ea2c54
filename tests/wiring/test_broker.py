"""The brokers as the settings name them: files that cannot be used are told by name, and nothing in them is."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from jianguan.errors import ConfigurationError
from jianguan.settings import Settings, load_settings
from jianguan.wiring.broker import broker_of
from streams.broker import Broker, Login
from tests.certificates import Authority
from tests.requirements import require

SECRET = "s3cret of the key"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


def settings(**given: Any) -> Settings:
    return load_settings(broker="k:9092", store="clickhouse://h/d", **given)


def with_login(path: Path) -> Settings:
    return settings(
        broker_protocol="SASL_PLAINTEXT", broker_mechanism="PLAIN", broker_user="u", broker_password_file=path
    )


def with_tls(**files: Path) -> Settings:
    return settings(broker_protocol="SSL", **{f"broker_{name}_file": path for name, path in files.items()})


def written(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def test_without_settings_a_broker_is_an_address() -> None:
    assert broker_of(settings()) == Broker("k:9092")


def test_the_password_is_that_of_its_file_without_the_line_end(tmp_path: Path) -> None:
    path = written(tmp_path / "password", f"{SECRET}\r\n")
    broker = broker_of(with_login(path))
    assert broker.login == Login("PLAIN", "u", SECRET)
    assert broker.tls is None
    assert SECRET not in repr(broker) + repr(with_login(path))


@pytest.mark.parametrize(("content", "sign"), [(None, "no such file"), ("\n", "is empty"), (b"\xff", "is not text")])
def test_a_file_without_the_password_is_named(tmp_path: Path, content: str | bytes | None, sign: str) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=sign) as told:
        broker_of(with_login(path))
    assert str(path) in str(told.value)
    assert "broker's password" in str(told.value)


def test_the_systems_authorities_count_unless_others_are_named(authority: Authority) -> None:
    system, ours = broker_of(with_tls()).tls, broker_of(with_tls(ca=authority.path)).tls
    assert system is not None
    assert ours is not None
    assert len(ours.get_ca_certs()) == 1
    for context in (system, ours):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_certificate_is_shown_with_a_key_plain_encrypted_or_in_the_same_file(
    authority: Authority, tmp_path: Path
) -> None:
    plain, encrypted = authority.sign("plain"), authority.sign("encrypted", password=SECRET)
    password = written(tmp_path / "password", f"{SECRET}\n")
    assert broker_of(with_tls(certificate=plain.path, key=plain.key)).certificate
    assert broker_of(with_tls(certificate=plain.both, key=plain.both)).certificate
    found = broker_of(with_tls(certificate=encrypted.path, key=encrypted.key, key_password=password))
    assert found.certificate
    assert not broker_of(with_tls()).certificate


@pytest.mark.parametrize(
    ("content", "sign"),
    [
        (None, "cannot be read .no such file"),
        ("", "has no certificate in PEM"),
        ("PKCS12 \x00\x01", "has no certificate in PEM"),
        ("KEY", "has no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is damaged"),
        ("-----BEGIN CERTIFICATE-----\n", "is damaged"),
    ],
)
def test_a_file_of_authorities_that_cannot_be_used_is_named(
    authority: Authority, tmp_path: Path, content: str | None, sign: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(authority.certificate.key.read_text() if content == "KEY" else content)
    with pytest.raises(ConfigurationError, match=sign) as told:
        broker_of(with_tls(ca=path))
    assert str(path) in str(told.value)
    assert "JIANGUAN_BROKER_CA_FILE" in str(told.value)
    assert "Errno" not in str(told.value)


def test_a_folder_is_no_file_of_authorities(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\(is a directory\): JIANGUAN_BROKER_CA_FILE"):
        broker_of(with_tls(ca=tmp_path))


def test_a_certificate_and_a_key_that_cannot_be_used_are_told_apart(authority: Authority, tmp_path: Path) -> None:
    one, other, encrypted = authority.sign("one"), authority.sign("other"), authority.sign("locked", password=SECRET)
    wrong = written(tmp_path / "wrong", "something else\n")
    damaged = written(tmp_path / "damaged", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    cases: list[tuple[dict[str, Path], str]] = [
        ({"certificate": tmp_path / "none", "key": one.key}, "none cannot be read .*JIANGUAN_BROKER_CERTIFICATE_FILE"),
        ({"certificate": one.path, "key": tmp_path / "none"}, "none cannot be read .*JIANGUAN_BROKER_KEY_FILE"),
        ({"certificate": one.key, "key": one.key}, "has no certificate in PEM.*JIANGUAN_BROKER_CERTIFICATE_FILE"),
        ({"certificate": one.path, "key": one.path}, "has no private key in PEM.*JIANGUAN_BROKER_KEY_FILE"),
        ({"certificate": one.path, "key": other.key}, "is not that of the certificate"),
        ({"certificate": one.path, "key": damaged}, "is damaged"),
        ({"certificate": encrypted.path, "key": encrypted.key}, "is encrypted: set JIANGUAN_BROKER_KEY_PASSWORD_FILE"),
        (
            {"certificate": encrypted.path, "key": encrypted.key, "key_password": wrong},
            "does not open with the password in .*JIANGUAN_BROKER_KEY_PASSWORD_FILE",
        ),
        (
            {"certificate": encrypted.path, "key": encrypted.key, "key_password": tmp_path / "none"},
            "the key's password cannot be read",
        ),
        (
            {"certificate": one.path, "key": one.key, "key_password": written(tmp_path / "empty", "\n")},
            "is empty: put the password into it, or set no JIANGUAN_BROKER_KEY_PASSWORD_FILE",
        ),
    ]
    for files, sign in cases:
        with pytest.raises(ConfigurationError, match=sign) as told:
            broker_of(with_tls(**files))
        assert "something else" not in str(told.value)
