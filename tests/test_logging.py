"""What a process says on its log, and what it keeps to itself."""

from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Iterator

import pytest
import structlog

from jianguan.errors import UnavailableError
from jianguan.logging import configure_logging
from sinks.server_pool import Address, Limits, ServerPool
from streams.app import create_app
from streams.transport.batch import BatchTransport
from streams.transport.client import BatchConsumerThread
from streams.transport.consumer import BatchConsumer


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """The log at INFO, as JSON lines; afterwards all loggers are as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logging.Logger.manager.loggerDict}
    stream = io.StringIO()
    configure_logging("INFO", "json", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logging.Logger.manager.loggerDict:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def test_a_line_is_a_json_object_that_says_when_who_and_what(said: io.StringIO) -> None:
    logging.getLogger("jianguan.some").info("%d cases restored", 3)
    line = json.loads(said.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("3 cases restored", "info", "jianguan.some")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("service", [BatchTransport, BatchConsumer, BatchConsumerThread])
def test_what_fausts_services_tell_of_their_lives_is_no_news(service: type, said: io.StringIO) -> None:
    logger = logging.getLogger(service.__module__)
    logger.info("Starting...")
    logger.warning("Stopping...")
    assert said.getvalue() == ""
    logger.error("broken")
    assert json.loads(said.getvalue())["event"] == "broken"


def test_requests_to_the_brokers_are_never_written_down(said: io.StringIO) -> None:
    """One of them is the login, which by PLAIN has the password."""
    configure_logging("DEBUG", "json", said)
    logging.getLogger("aiokafka.conn").debug("Request: %s", "SaslAuthenticateRequest(sasl_auth_bytes=b'secret')")
    assert said.getvalue() == ""
    logging.getLogger("aiokafka.client").debug("metadata")
    assert json.loads(said.getvalue())["event"] == "metadata"


def test_the_app_itself_is_no_news_either(said: io.StringIO) -> None:
    logging.getLogger(create_app.__module__).info("Starting...")
    assert said.getvalue() == ""


@pytest.mark.network
def test_a_store_that_is_away_is_no_traceback_for_each_connection(said: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    pool = ServerPool(Address.parse(f"clickhouse://127.0.0.1:{port}/db"), Limits(connect_s=1.0))
    with pytest.raises(UnavailableError, match="Connection refused"):
        pool.execute("SELECT 1")
    assert said.getvalue() == ""
