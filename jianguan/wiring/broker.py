"""The brokers of a cluster, as the settings name them, with certificates and passwords from their files. Nothing is
asked of them here."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from jianguan.errors import ConfigurationError
from jianguan.settings import Settings
from jianguan.wiring.secret_files import password_in, reason_of
from streams.broker import Broker, Login

_CERTIFICATE = re.compile(r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def broker_of(settings: Settings) -> Broker:
    """The brokers of JIANGUAN_BROKER and how to connect to them. ConfigurationError for a file that cannot be used."""
    assert settings.broker is not None
    return Broker(
        settings.broker,
        tls=_tls(settings) if settings.broker_protocol.endswith("SSL") else None,
        login=_login(settings) if settings.broker_protocol.startswith("SASL") else None,
        certificate=settings.broker_certificate_file is not None,
    )


def _login(settings: Settings) -> Login:
    mechanism, user, path = settings.broker_mechanism, settings.broker_user, settings.broker_password_file
    assert mechanism is not None and user is not None and path is not None  # noqa: PT018 - load_settings has seen to it
    return Login(mechanism, user, password_in(path, "JIANGUAN_BROKER_PASSWORD_FILE", "broker", ""))


def _tls(settings: Settings) -> ssl.SSLContext:
    """Certificates and names are checked, always: there is no setting to leave it."""
    authorities = settings.broker_ca_file
    if authorities is None:
        context = ssl.create_default_context()
    else:
        _look_for(_CERTIFICATE, authorities, "JIANGUAN_BROKER_CA_FILE", "certificate")
        try:
            context = ssl.create_default_context(cafile=authorities)
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(
                f"{authorities}, the file of JIANGUAN_BROKER_CA_FILE, has a certificate that is damaged: write it anew"
            ) from None
    if settings.broker_certificate_file is not None:
        _show_certificate(context, settings)
    return context


def _show_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    certificate, key = settings.broker_certificate_file, settings.broker_key_file
    assert certificate is not None and key is not None  # noqa: PT018 - load_settings has seen to it
    _look_for(_CERTIFICATE, certificate, "JIANGUAN_BROKER_CERTIFICATE_FILE", "certificate")
    encrypted = "ENCRYPTED" in _look_for(_KEY, key, "JIANGUAN_BROKER_KEY_FILE", "private key")
    password = ""
    if settings.broker_key_password_file is not None:
        setting = "JIANGUAN_BROKER_KEY_PASSWORD_FILE"
        password = password_in(
            settings.broker_key_password_file, setting, "key", f", or set no {setting} for a key without one"
        )
    elif encrypted:
        raise ConfigurationError(
            f"the key in {key} is encrypted: set JIANGUAN_BROKER_KEY_PASSWORD_FILE to a file with its password"
        )
    try:
        # OpenSSL asks at the terminal for what is not given.
        context.load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            fault = f"the key in {key} is not that of the certificate in {certificate}"
            advice = "JIANGUAN_BROKER_CERTIFICATE_FILE must begin with the certificate of JIANGUAN_BROKER_KEY_FILE"
        elif encrypted:
            fault = f"the key in {key} does not open with the password in {settings.broker_key_password_file}"
            advice = "look at JIANGUAN_BROKER_KEY_FILE and JIANGUAN_BROKER_KEY_PASSWORD_FILE"
        else:
            fault = f"the certificate in {certificate} or the key in {key} is damaged"
            advice = "look at JIANGUAN_BROKER_CERTIFICATE_FILE and JIANGUAN_BROKER_KEY_FILE"
        raise ConfigurationError(f"{fault}: {advice}") from None


def _look_for(mark: re.Pattern[str], path: Path, setting: str, what: str) -> str:
    """The text of a PEM file in which there is such a mark. ConfigurationError."""
    try:
        text = path.read_text("latin-1")
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({reason_of(error)}): {setting} must name a PEM file that this user may read"
        ) from None
    if not mark.search(text):
        raise ConfigurationError(
            f"{path} has no {what} in PEM, which begins with -----BEGIN: {setting} must name such a file; from a JKS or"
            " PKCS#12 store, keytool and `openssl pkcs12` write one"
        )
    return text
