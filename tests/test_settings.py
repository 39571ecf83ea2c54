"""Settings come from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from jianguan.errors import ConfigurationError
from jianguan.settings import Settings, load_settings, unknown_settings


@pytest.mark.parametrize("name", ["rules", "regions", "industries", "calendars"])
@pytest.mark.parametrize(("text", "paths"), [("/a", ["/a"]), ("/a:b/c", ["/a", "b/c"]), ("", []), ("/a:", ["/a"])])
def test_paths_are_written_as_in_path(monkeypatch: pytest.MonkeyPatch, name: str, text: str, paths: list[str]) -> None:
    monkeypatch.setenv(f"JIANGUAN_{name.upper()}", text)
    assert getattr(load_settings(), name) == tuple(map(Path, paths))


@pytest.mark.parametrize(
    ("text", "networks"),
    [("", []), ("10.0.0.1", ["10.0.0.1/32"]), (" 10.0.0.0/8, fd00::/8 ,", ["10.0.0.0/8", "fd00::/8"])],
)
def test_proxies_are_addresses_or_networks_with_commas_between(
    monkeypatch: pytest.MonkeyPatch, text: str, networks: list[str]
) -> None:
    assert load_settings().trusted_proxies == ()
    monkeypatch.setenv("JIANGUAN_TRUSTED_PROXIES", text)
    assert [str(each) for each in load_settings().trusted_proxies] == networks


@pytest.mark.parametrize("text", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1:80", "0.0.0.0/0", "10.0.0.1,::/0"])
def test_what_is_no_address_of_a_proxy_or_all_addresses_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("JIANGUAN_TRUSTED_PROXIES", text)
    with pytest.raises(ConfigurationError, match="setting JIANGUAN_TRUSTED_PROXIES: "):
        load_settings()


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANGUAN_PORT", "1")
    assert load_settings(port=2).port == 2
    assert load_settings(port=None).port == 1


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "many"), ("PARTITIONS", "0"), ("MAX_AGE", "long"), ("DEMO_RATE", "-1")]
)
def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"JIANGUAN_{name}", value)
    with pytest.raises(ConfigurationError, match=f"setting JIANGUAN_{name}: "):
        load_settings()


@pytest.mark.parametrize("name", ["SESSION", "RULES_RELOAD", "MAX_AGE", "STORE_LINGER", "FETCH_WAIT"])
def test_a_duration_is_seconds_or_iso_8601_and_a_wrong_one_says_so(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("90", "90.0", "PT90S", "00:01:30"):
        monkeypatch.setenv(f"JIANGUAN_{name}", text)
        assert getattr(load_settings(), name.lower()) == timedelta(seconds=90)
    monkeypatch.setenv(f"JIANGUAN_{name}", "soon")
    with pytest.raises(ConfigurationError, match=f"JIANGUAN_{name}: .*; write seconds, such as 0.15, or a duration"):
        load_settings()


def test_a_variable_that_is_no_setting_is_told_with_the_nearest_name() -> None:
    known = {"JIANGUAN_PORT": "1", "jianguan_host": "h", "JIANGUAN_SERVER": "s", "_JIANGUAN_COMPLETE": "", "HOME": "/"}
    assert unknown_settings(known) == []
    assert unknown_settings({**known, "JIANGUAN_RECIEVERS": "r", "JIANGUAN_XYZ": ""}) == [
        "no setting JIANGUAN_RECIEVERS; did you mean JIANGUAN_RECEIVERS?",
        "no setting JIANGUAN_XYZ; docs/settings.md lists all",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROUP", ""),
        ("TOPIC_PREFIX", "a b"),
        ("RULES_RELOAD", "0"),
        ("MAX_AGE", "-P1D"),
        ("STORE_LINGER", "-PT1S"),
        ("FETCH_WAIT", "-PT1S"),
        ("BROKER_MEMORY", "-1"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "yaml"),
    ],
)
def test_a_value_that_no_process_could_work_by_is_refused_by_the_settings_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"JIANGUAN_{name}", value)
    with pytest.raises(ConfigurationError, match=f"JIANGUAN_{name}: "):
        load_settings()


def test_a_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANGUAN_LOG_LEVEL", "debug")
    assert load_settings().log_level == "debug"


def test_a_host_that_can_be_reached_from_outside_needs_a_token() -> None:
    with pytest.raises(ConfigurationError, match="JIANGUAN_API_TOKEN"):
        load_settings(host="0.0.0.0")
    assert load_settings(host="0.0.0.0", api_token="t" * 32).api_token is not None


@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_token_is_none_and_opens_nothing_to_the_outside(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANGUAN_API_TOKEN", empty)
    assert load_settings().api_token is None
    with pytest.raises(ConfigurationError, match="JIANGUAN_API_TOKEN"):
        load_settings(host="0.0.0.0")


def test_a_token_is_taken_without_the_line_end_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JIANGUAN_API_TOKEN", "right\n")
    token = load_settings(host="0.0.0.0").api_token
    assert token is not None
    assert token.get_secret_value() == "right"


@pytest.mark.parametrize("given", [{"broker": "k:9092"}, {"store": "clickhouse://h/d"}])
def test_broker_and_store_go_together(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        load_settings(**given)


CLUSTER = {"broker": "k:9092", "store": "clickhouse://h/d"}
LOGIN = {"broker_mechanism": "SCRAM-SHA-512", "broker_user": "u", "broker_password_file": "p"}
CERTIFICATE = {"broker_certificate_file": "c", "broker_key_file": "k"}


@pytest.mark.parametrize(
    ("protocol", "given"),
    [
        ("PLAINTEXT", {}),
        ("SSL", {}),
        ("SSL", {"broker_ca_file": "ca"}),
        ("SSL", CERTIFICATE),
        ("SSL", {**CERTIFICATE, "broker_key_password_file": "p"}),
        ("SASL_PLAINTEXT", LOGIN),
        ("SASL_PLAINTEXT", {**LOGIN, "broker_mechanism": "PLAIN"}),
        ("SASL_PLAINTEXT", {**LOGIN, "broker_mechanism": "scram-sha-256"}),
        ("SASL_SSL", LOGIN),
        ("sasl_ssl", {**LOGIN, **CERTIFICATE, "broker_ca_file": "ca"}),
    ],
)
def test_a_connection_to_kafka_may_be_encrypted_and_have_a_login(protocol: str, given: dict[str, str]) -> None:
    settings = load_settings(**CLUSTER, broker_protocol=protocol, **given)
    assert settings.broker_protocol == protocol.upper()
    assert settings.broker_mechanism == (given["broker_mechanism"].upper() if "broker_mechanism" in given else None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"broker_protocol": "TLS"}, "setting JIANGUAN_BROKER_PROTOCOL: .*'SASL_SSL'"),
        ({"broker_protocol": "SASL_SSL", **LOGIN, "broker_mechanism": "GSSAPI"}, "setting JIANGUAN_BROKER_MECHANISM: "),
        ({"broker_protocol": "SASL_SSL"}, "_MECHANISM and JIANGUAN_BROKER_USER and JIANGUAN_BROKER_PASSWORD_FILE too"),
        ({"broker_protocol": "SASL_SSL", **LOGIN, "broker_user": None}, "needs a login: set JIANGUAN_BROKER_USER too"),
        (
            {"broker_protocol": "SASL_PLAINTEXT", **LOGIN, "broker_password_file": None},
            "needs a login: set JIANGUAN_BROKER_PASSWORD_FILE too",
        ),
        (
            {"broker_protocol": "SASL_PLAINTEXT", **LOGIN, "broker_mechanism": None},
            "needs a login: set JIANGUAN_BROKER_MECHANISM too",
        ),
        (LOGIN, "JIANGUAN_BROKER_MECHANISM is set, but .* PLAINTEXT, which is without a login: .*SASL_SSL"),
        ({"broker_user": "u"}, "JIANGUAN_BROKER_USER is set, .*or unset JIANGUAN_BROKER_USER"),
        ({"broker_protocol": "SSL", "broker_user": "u"}, "JIANGUAN_BROKER_USER is set, but .* SSL, .*to SASL_SSL"),
        ({"broker_ca_file": "ca"}, "JIANGUAN_BROKER_CA_FILE is set, .* PLAINTEXT, .* without TLS: .* to SSL,"),
        (
            {"broker_protocol": "SASL_PLAINTEXT", **LOGIN, "broker_ca_file": "ca"},
            "JIANGUAN_BROKER_CA_FILE is set, but .* SASL_PLAINTEXT, which is without TLS: .* to SASL_SSL,",
        ),
        (CERTIFICATE, "JIANGUAN_BROKER_CERTIFICATE_FILE is set, but .* without TLS"),
        ({"broker_protocol": "SSL", "broker_certificate_file": "c"}, "_CERTIFICATE_FILE and .*_KEY_FILE go together"),
        ({"broker_protocol": "SSL", "broker_key_file": "k"}, "_CERTIFICATE_FILE and .*_KEY_FILE go together"),
        ({"broker_protocol": "SSL", "broker_key_password_file": "p"}, "_BROKER_KEY_PASSWORD_FILE .*without a key"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_about_kafka_is_told_with_what_to_do(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings(**CLUSTER, **given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROTOCOL", "SSL"),
        ("PROTOCOL", "SASL_SSL"),
        ("MECHANISM", "PLAIN"),
        ("USER", "u"),
        ("PASSWORD_FILE", "p"),
        ("CA_FILE", "ca"),
        ("CERTIFICATE_FILE", "c"),
        ("KEY_FILE", "k"),
        ("KEY_PASSWORD_FILE", "p"),
    ],
)
def test_the_embedded_broker_has_neither_tls_nor_users(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"JIANGUAN_BROKER_{name}", value)
    with pytest.raises(
        ConfigurationError, match=f"JIANGUAN_BROKER_{name} is for a Kafka .*or unset JIANGUAN_BROKER_{name}"
    ):
        load_settings()
    monkeypatch.setenv(f"JIANGUAN_BROKER_{name}", " ")  # as compose and Kubernetes pass on what is not set
    assert load_settings() == Settings()
    assert load_settings(**CLUSTER).broker_protocol == "PLAINTEXT"
