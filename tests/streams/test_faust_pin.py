"""Fails when Faust, mode or aiokafka change what streams/transport/ builds on.

If it fails: read the changes of each method named, check the overrides against them, run
tests/streams/transport/, and only then write the new digests down here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer.fetcher import Fetcher, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.record.default_records import _DefaultRecordBatchPy
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.transport.conductor import ConductorCompiler
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as DriverConsumer
from faust.types.tuples import Message
from mode.utils.queues import FlowControlEvent

PINNED: dict[str, tuple[Callable[..., Any], str]] = {
    "Consumer.getmany": (Consumer.getmany, "4b168d84882a70d6"),
    "Consumer._wait_next_records": (Consumer._wait_next_records, "6218e1969a636b3f"),
    "Consumer._drain_messages": (Consumer._drain_messages, "44a2500309e83c63"),
    "Consumer._add_gap": (Consumer._add_gap, "4df2573ded7c1c2c"),
    "Consumer._filter_tps_with_pending_acks": (Consumer._filter_tps_with_pending_acks, "f6f9239774234e7e"),
    "Consumer._new_offset": (Consumer._new_offset, "1d2c7ea89a7ad4f1"),
    "Consumer._should_commit": (Consumer._should_commit, "5ce941793947ad42"),
    "Consumer._commit_tps": (Consumer._commit_tps, "a20e230b05ae8b15"),
    "Consumer._commit_offsets": (Consumer._commit_offsets, "1a69799041188441"),
    "Consumer.force_commit": (Consumer.force_commit, "cc094614d22c70fb"),
    "Consumer.on_partitions_revoked": (Consumer.on_partitions_revoked, "d04b7ae72c6fc206"),
    "Consumer.on_partitions_assigned": (Consumer.on_partitions_assigned, "29ce96596f05a18c"),
    "Consumer.wait_empty": (Consumer.wait_empty, "e4662fe24f094819"),
    "Consumer._clean_unacked_messages": (Consumer._clean_unacked_messages, "11be2587e71c9162"),
    "Consumer.ack": (Consumer.ack, "5fcf41cf45153475"),
    "Consumer.perform_seek": (Consumer.perform_seek, "0e8c130ff4b0afd8"),
    "ConductorCompiler.build": (ConductorCompiler.build, "837cf521368c1ee4"),
    "FlowControlEvent.acquire": (FlowControlEvent.acquire, "ed0208e866e64d0b"),
    "Consumer.on_buffer_full": (Consumer.on_buffer_full, "c8961679e0bcdce5"),
    "Consumer.on_buffer_drop": (Consumer.on_buffer_drop, "4b57e8a418d5ad9c"),
    "DriverConsumer._new_consumer_thread": (DriverConsumer._new_consumer_thread, "0870ec53dea75083"),
    "DriverConsumer._to_message": (DriverConsumer._to_message, "7c24f6511b2fcef7"),
    "AIOKafkaConsumerThread._create_worker_consumer": (
        AIOKafkaConsumerThread._create_worker_consumer,
        "c2701bfc3e6f6cad",
    ),
    "AIOKafkaConsumerThread.on_start": (AIOKafkaConsumerThread.on_start, "38b4e8bd1e10723a"),
    "AIOKafkaConsumerThread._highwaters": (AIOKafkaConsumerThread._highwaters, "a7f4f97d9f32aca2"),
    "AIOKafkaConsumerThread._fetch_records": (AIOKafkaConsumerThread._fetch_records, "39a2c6c79fc1455a"),
    "AIOKafkaConsumerThread._commit": (AIOKafkaConsumerThread._commit, "932852ce7a23f658"),
    "AIOKafkaConsumerThread.on_thread_stop": (AIOKafkaConsumerThread.on_thread_stop, "8dfc004e258b6c25"),
    "AIOKafkaConsumer.stop": (aiokafka.AIOKafkaConsumer.stop, "bc5da9c98595299a"),
    "Fetcher._get_actions_per_node": (Fetcher._get_actions_per_node, "1dab2cf937d165d0"),
    "Fetcher._proc_fetch_request": (Fetcher._proc_fetch_request, "59bf948fff47eed5"),
    "PartitionRecords.__init__": (PartitionRecords.__init__, "8ec1c2ae6ea1af87"),
    "PartitionRecords._unpack_records": (PartitionRecords._unpack_records, "b803e6d46480732c"),
    "_DefaultRecordBatchPy._read_msg": (_DefaultRecordBatchPy._read_msg, "0997ab7a58505c93"),
    "_DefaultRecordBatchPy.__iter__": (_DefaultRecordBatchPy.__iter__, "492967e59f459124"),
    "GroupCoordinator._do_heartbeat": (GroupCoordinator._do_heartbeat, "dc1d6632aaa68e96"),
    "GroupCoordinator._heartbeat_routine": (GroupCoordinator._heartbeat_routine, "61d01028952239d0"),
    "TableManager.on_start": (TableManager.on_start, "365dd25fbc0e0684"),
    "TableManager._update_channels": (TableManager._update_channels, "88e3941facc934d6"),
    "Message.ack": (Message.ack, "4751b72c4ed84153"),
    "Stream._py_aiter": (Stream._py_aiter, "3a48ee257a65435b"),
    "Stream._c_aiter": (Stream._c_aiter, "fa44582a5882e9df"),
}


def digest(function: Callable[..., Any]) -> str:
    return hashlib.sha256(inspect.getsource(inspect.unwrap(function)).encode()).hexdigest()[:16]


def test_faust_is_the_version_that_the_transport_was_written_for() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"


@pytest.mark.parametrize("name", sorted(PINNED))
def test_a_method_that_we_build_on_is_unchanged(name: str) -> None:
    function, expected = PINNED[name]
    assert digest(function) == expected, f"{name} has changed: see the docstring of this file"


def test_the_consumer_still_keeps_its_fetch_limits_where_we_set_them() -> None:
    source = inspect.getsource(aiokafka.AIOKafkaConsumer)
    for field in ("_fetch_max_wait_ms", "_fetch_max_bytes", "_max_partition_fetch_bytes"):
        assert f"self.{field} = " in source
        assert f"=self.{field}," in source
    assert "self._max_poll_records = " in source
    assert "assignors=self._partition_assignment_strategy," in source
