"""Structured logs: JSON lines for machines, readable lines on a terminal. Never personal data, never secrets."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

# Libraries that tell their life story at INFO, and our classes that log through Faust's base class.
_NOISY = (
    "aiokafka",
    "faust",
    "mode",
    "kafka",
    "httpx",
    "httpcore",
    "uvicorn",
    "asyncio",
    "clickhouse_driver",  # a traceback for each connection that fails, of which our own sentence tells
    "streams.transport",
    "streams.app",
)


def configure_logging(level: str, form: str, stream: Any = None) -> None:
    """Send the logs of this process to `stream` (stderr). `form` is json, text or auto."""
    out = stream or sys.stderr
    text = form == "text" or (form == "auto" and out.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if text
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    quiet = logging.DEBUG if level.upper() == "DEBUG" else logging.ERROR
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(quiet)
    # At DEBUG it writes down every request, and so the password of a login by PLAIN.
    logging.getLogger("aiokafka.conn").setLevel(max(quiet, logging.INFO))
