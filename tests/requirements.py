"""What a test needs beyond Python: skipped with a reason when it is not there, failed when the run requires it.

JIANGUAN_REQUIRE is a list such as `browser,clickhouse,kafka`; CI sets it so that nothing is skipped in silence.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest

from tests.clickhouse import find_server
from tests.cluster.kafka import KafkaUnavailableError, find


def required(name: str) -> bool:
    """Whether this run must have `name`."""
    return name in {each.strip() for each in os.environ.get("JIANGUAN_REQUIRE", "").split(",")}


def missing(name: str, reason: str) -> NoReturn:
    """Skip, or fail when the run requires `name`."""
    if required(name):
        pytest.fail(f"{name} is required by JIANGUAN_REQUIRE but {reason}", pytrace=False)
    pytest.skip(f"no {name}: {reason}")


def browser() -> Path:
    """The Chromium to drive: CHROMIUM, or Debian's."""
    path = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    if not path.is_file():
        missing("browser", f"{path} does not exist; install chromium or set CHROMIUM")
    return path


def clickhouse() -> str:
    """The ClickHouse for tests: the address in CLICKHOUSE_URL, or the path of Debian's server, to be started."""
    if os.environ.get("CLICKHOUSE_URL"):
        return _address("clickhouse", "CLICKHOUSE_URL")
    return debian_clickhouse()


def debian_clickhouse() -> str:
    """The path of Debian's ClickHouse server, for a test that kills one."""
    program = find_server()
    if program is None:
        missing("clickhouse", "clickhouse-server is not installed (CLICKHOUSE_URL can stand in for it, but not die)")
    return program


def kafka() -> str:
    """The Apache Kafka for tests: the address in KAFKA_URL, such as kafka://127.0.0.1:9092, or the folder of the jars
    that `make kafka` has fetched (or KAFKA_HOME has), to be started. Tests never download it."""
    if os.environ.get("KAFKA_URL"):
        return _address("kafka", "KAFKA_URL")
    return own_kafka()


def own_kafka() -> str:
    """The folder of Kafka's jars, for tests that kill and pause nodes of their own, whatever KAFKA_URL says."""
    try:
        return str(find().jars)
    except KafkaUnavailableError as error:
        missing("kafka", str(error))


def _address(name: str, variable: str) -> str:
    address = os.environ.get(variable, "")
    if not address:
        missing(name, f"{variable} is not set")
    if not urlsplit(address).hostname:
        pytest.fail(f"{variable} is no address: scheme://host:port", pytrace=False)
    return address


def program(name: str, package: str) -> str:
    """The path of a program of that name."""
    path = shutil.which(name)
    if path is None:
        missing(name, f"there is no {name} in PATH; install {package}")
    return path


_KINDS: dict[str, Callable[[], str]] = {
    "browser": lambda: str(browser()),
    "clickhouse": clickhouse,
    "go": lambda: program("go", "Go 1.24 or newer"),
    "kafka": kafka,
    "openssl": lambda: program("openssl", "openssl"),
    "promtool": lambda: program("promtool", "Debian's prometheus"),
}


def require(name: str) -> str:
    """The path or address of `name` (browser, clickhouse, go, kafka, openssl, promtool), or the test ends here."""
    return _KINDS[name]()
