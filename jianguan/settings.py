"""Every setting, in one place, from the environment (`JIANGUAN_…`) or the command line. docs/settings.md lists them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from jianguan.errors import ConfigurationError

_PREFIX: Final = "JIANGUAN_"
# Variables of the clients, of compose, of the tests and the benchmarks.
_NO_SETTINGS: Final = ("SERVER", "VERSION", "PUBLISH", "REQUIRE", "BENCH_CACHE")
_NOTHING: Final = timedelta()
_OF_BROKER_USER: Final = ("broker_user", "broker_password_file")
_OF_BROKER_TLS: Final = ("broker_ca_file", "broker_certificate_file", "broker_key_file", "broker_key_password_file")
_DURATIONS: Final = "; write seconds, such as 0.15, or a duration, such as P90D or 00:10:00"

Paths = Annotated[tuple[Path, ...], NoDecode]  # decoded by `_paths`: in the environment it is no JSON
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]  # by `_networks`


class Settings(BaseSettings):
    """What an operator may decide. Without any of them the embedded system runs on this machine alone."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    data: Path = Field(default=Path("data/embedded"), description="Folder of the store, the journal and the keys.")
    host: str = Field(default="127.0.0.1", description="Address that the pages and the API listen on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8600, description="Their port; 0 takes a free one.")
    api_token: SecretStr | None = Field(
        default=None, description="Bearer token that every request must carry; required when host is not loopback."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Addresses or networks of the proxies before the pages, with `,` between them. Who connects from "
        "there is the last one in `X-Forwarded-For` that is none of them; without proxies it counts for nothing.",
    )
    broker: str | None = Field(default=None, description="Kafka bootstrap servers; none starts the embedded broker.")
    broker_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT",
        description="What the listener of Kafka speaks: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. SSL is TLS, SASL a "
        "user's login.",
    )
    broker_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How the user of Kafka logs in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    broker_user: str | None = Field(default=None, description="User of Kafka.")
    broker_password_file: Path | None = Field(default=None, description="File with the password of Kafka's user.")
    broker_ca_file: Path | None = Field(
        default=None, description="PEM file of the CAs that sign the brokers' certificates; none takes the system's."
    )
    broker_certificate_file: Path | None = Field(
        default=None, description="PEM file of our certificate, for brokers that ask clients for one."
    )
    broker_key_file: Path | None = Field(default=None, description="PEM file of the key of that certificate.")
    broker_key_password_file: Path | None = Field(
        default=None, description="File with the password of that key; none for a key without."
    )
    store: str | None = Field(
        default=None, description="clickhouse://user@host:9000/database; none opens the embedded store."
    )
    store_password_file: Path | None = Field(default=None, description="File with the password of the store's user.")
    group: str = Field(default="jianguan", min_length=1, description="Consumer group of the workers.")
    session: Annotated[timedelta, Field(ge=timedelta(seconds=6), le=timedelta(minutes=30))] = Field(
        default=timedelta(seconds=30),
        description="How long a worker of a cluster may be silent before others take its partitions over.",
    )
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = Field(
        default="",
        description="Name of this worker in its group, its own and the same after a restart: one that was killed and "
        "is started again then has its partitions back at once. Without a name the group waits for `session` first.",
    )
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,200}$")] = Field(
        default="", description="Put before every topic name."
    )
    partitions: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Partitions of every topic; none takes 1 in the embedded system, 8 in a cluster."
    )
    replication: Annotated[int, Field(ge=1, le=7)] = Field(default=1, description="Replicas of every topic.")
    rules: Paths = Field(default=(), description="Folders of rules; none takes the shipped library.")
    rules_reload: Annotated[timedelta, Field(gt=_NOTHING)] = Field(
        default=timedelta(seconds=2), description="How often rule folders are looked at."
    )
    rules_people: Annotated[int, Field(ge=0, le=5)] = Field(
        default=0,
        description="How many people must approve a changed rule before it runs; 0: who may write its folder decides.",
    )
    rules_warm: bool = Field(default=True, description="Whether a new rule begins with windows filled from history.")
    receivers: Path | None = Field(default=None, description="YAML file of webhook receivers.")
    regions: Paths = Field(default=(), description="More region tables (CSV).")
    industries: Paths = Field(default=(), description="More industry tables (CSV).")
    calendars: Paths = Field(default=(), description="Working-day tables that override the shipped ones.")
    max_age: Annotated[timedelta, Field(gt=_NOTHING)] = Field(
        default=timedelta(days=90), description="An event that is received later than this after it occurred is late."
    )
    seen_events: Annotated[int, Field(ge=1000)] = Field(
        default=1_000_000, description="How many event ids are remembered to recognise duplicates."
    )
    store_batch: Annotated[int, Field(ge=1)] = Field(
        default=200_000, description="Rows after which records are written."
    )
    store_linger: Annotated[timedelta, Field(ge=_NOTHING)] = Field(
        default=timedelta(milliseconds=400), description="Time after which fewer rows are written too."
    )
    fetch_wait: Annotated[timedelta, Field(ge=_NOTHING)] = Field(
        default=timedelta(milliseconds=10),
        description="How long the broker may hold an empty fetch; 50 ms at least once nothing has come for two "
        "seconds.",
    )
    run_records: Annotated[int, Field(ge=1)] = Field(default=2_000, description="Records that a stage takes at once.")
    broker_memory: Annotated[int, Field(gt=0)] = Field(
        default=1_500_000_000, description="Bytes after which the embedded broker is emptied (its records are stored)."
    )
    log_level: Annotated[str, Field(pattern=r"^(?i:debug|info|warning|error)$")] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR."
    )
    log_format: Annotated[str, Field(pattern=r"^(json|text|auto)$")] = Field(
        default="auto", description="json, text, or auto: text on a terminal."
    )
    demo_seed: int = Field(default=20_260_101, description="Seed of the simulated feed.")
    demo_rate: Annotated[float, Field(gt=0, le=1000)] = Field(default=12.0, description="Its events a second.")

    @field_validator("api_token", *_OF_BROKER_USER, *_OF_BROKER_TLS, mode="before")
    @classmethod
    def _given(cls, value: object) -> object:
        """An empty one is none. It is what `$(cat file)` gives when there is no file; as a token it would let everybody
        in, and as a path it is the folder in which the command is started."""
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator("broker_protocol", "broker_mechanism", mode="before")
    @classmethod
    def _names_of_kafka(cls, value: object, info: ValidationInfo) -> object:
        """As Kafka writes them, or small. An empty one is none."""
        if not isinstance(value, str):
            return value
        return value.strip().upper() or cls.model_fields[str(info.field_name)].default

    @field_validator("rules", "regions", "industries", "calendars", mode="before")
    @classmethod
    def _paths(cls, value: object) -> object:
        """A list, or paths with `:` between them as in PATH."""
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        """Networks with `,` between them. Not all addresses there are: everybody could then say to be anybody."""
        if not isinstance(value, str):
            return value
        found = [ip_network(part.strip()) for part in value.split(",") if part.strip()]
        if any(network.prefixlen == 0 for network in found):
            raise ValueError("whoever connects would be trusted; name the proxies")
        return found

    @field_validator("session", "rules_reload", "max_age", "store_linger", "fetch_wait", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        """A plain number is seconds; otherwise ISO 8601 or [D d]HH:MM:SS, as pydantic reads it."""
        if isinstance(value, str) and value.replace(".", "", 1).isdigit():
            return float(value)
        return value

    @property
    def embedded(self) -> bool:
        """Whether broker and store are this process's own."""
        return self.broker is None and self.store is None


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting of ours and is none: it is most likely misspelt."""
    names = [name.upper() for name in Settings.model_fields]
    given = {name.upper().removeprefix(_PREFIX) for name in environ if name.upper().startswith(_PREFIX)}
    found = []
    for name in sorted(given.difference(names, _NO_SETTINGS)):
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {_PREFIX}{near[0]}?" if near else "docs/settings.md lists all"
        found.append(f"no setting {_PREFIX}{name}; {hint}")
    return found


def load_settings(**given: object) -> Settings:
    """Settings from the environment; `given` (from the command line) wins, its None values count as not given."""
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        forms = _DURATIONS if first["type"].startswith("time_delta") else ""
        raise ConfigurationError(f"setting JIANGUAN_{name.upper()}: {first['msg']}{forms}") from None
    if (settings.broker is None) != (settings.store is None):
        raise ConfigurationError(
            "JIANGUAN_BROKER and JIANGUAN_STORE go together: set both for a cluster, neither for the embedded system"
        )
    if settings.host not in ("127.0.0.1", "::1", "localhost") and settings.api_token is None:
        raise ConfigurationError(
            f"host {settings.host} can be reached from outside: set JIANGUAN_API_TOKEN, or stay on 127.0.0.1"
        )
    if fault := _fault_of_broker(settings):
        raise ConfigurationError(fault)
    return settings


def _fault_of_broker(settings: Settings) -> str:
    """The first way in which what is set about TLS and login to Kafka does not go together; empty when it does."""
    protocol = settings.broker_protocol
    user, tls = ("broker_mechanism", *_OF_BROKER_USER), _OF_BROKER_TLS
    given = [name for name in (*user, *tls) if getattr(settings, name) is not None]
    if settings.broker is None:
        unused = ["broker_protocol"] * (protocol != "PLAINTEXT") + given
        return (
            f"{_variable(unused[0])} is for a Kafka that JIANGUAN_BROKER names; the embedded broker is reached on this"
            f" machine alone, without TLS or users: set JIANGUAN_BROKER, or unset {_variable(unused[0])}"
            if unused
            else ""
        )
    for names, part, wanted in ((user, "a login", "SASL"), (tls, "TLS", "SSL")):
        if wanted not in protocol and (unused := [name for name in names if name in given]):
            other = "SASL_SSL" if wanted == "SASL" else protocol.replace("PLAINTEXT", "SSL")
            return (
                f"{_variable(unused[0])} is set, but JIANGUAN_BROKER_PROTOCOL is {protocol}, which is without {part}:"
                f" set the protocol to {other}, or unset {_variable(unused[0])}"
            )
    if "SASL" in protocol and (missing := [name for name in user if name not in given]):
        return f"JIANGUAN_BROKER_PROTOCOL {protocol} needs a login: set {' and '.join(map(_variable, missing))} too"
    return _fault_of_certificate(settings)


def _fault_of_certificate(settings: Settings) -> str:
    if (settings.broker_certificate_file is None) != (settings.broker_key_file is None):
        return (
            "JIANGUAN_BROKER_CERTIFICATE_FILE and JIANGUAN_BROKER_KEY_FILE go together: set both, to one file if it has"
            " the certificate and the key, or neither"
        )
    if settings.broker_key_password_file is not None and settings.broker_key_file is None:
        return "JIANGUAN_BROKER_KEY_PASSWORD_FILE is set without a key: set JIANGUAN_BROKER_KEY_FILE too, or unset it"
    return ""


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"
