"""Limits of the batch transport: how much is fetched, handed over and in flight, and how long is waited for what."""

from __future__ import annotations

from dataclasses import dataclass

from jianguan.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """Limits of the batch transport. Set them on `app.transport.options` before the app starts.

    A partition is not read on while `in_flight_records` or `in_flight_bytes` of it are with the agent, so
    less than twice that many records of it are in flight, and one fetch of each partition waits behind them.
    A fetch is limited by `max_partition_fetch_bytes` in Kafka; Tansu ignores that and takes up to about 5 MB,
    or `fetch_max_bytes` if it is less.
    """

    fetch_max_wait_ms: int = 20
    fetch_max_bytes: int = 52_428_800
    max_partition_fetch_bytes: int = 1_048_576
    run_records: int = 5_000
    run_bytes: int = 8_388_608
    in_flight_records: int = 20_000
    in_flight_bytes: int = 33_554_432
    drain_timeout: float = 2.0
    commit_timeout: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"the transport's {name} must be more than 0: {getattr(self, name)!r}")
