"""One connection, from its first packet to its last: reads statements, has them run, sends what they answer."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final

from tests.native_server import blocks, packets
from tests.native_server.engine import Engine, Insert, Session, StatementError
from tests.native_server.packets import FromClient, Query
from tests.native_server.wire import ProtocolError, Reader, compressed

_PIECE: Final = 1 << 18
_UNEXPECTED_PACKET: Final = 101
_UNKNOWN_TYPE: Final = 50
_NOT_IMPLEMENTED: Final = 48


class Conversation:
    """What is said over one socket. `pause` is called before each statement is run, and may take its time."""

    def __init__(self, peer: socket.socket, engine: Engine, pause: Callable[[], object]) -> None:
        self._peer = peer
        self._engine = engine
        self._pause = pause
        self._source = Reader(self._receive)
        self._revision = packets.REVISION

    def run(self) -> None:
        """Talk until the client goes, or says what cannot be understood."""
        with closing(self._engine.open()) as session, suppress(EOFError, OSError):
            try:
                if self._greet(session):
                    while True:
                        self._source.forget()
                        self._next(session)
            except ProtocolError as fault:
                self._send(packets.exception(_UNEXPECTED_PACKET, f"DB::NetException: {fault}"))

    def _greet(self, session: Session) -> bool:
        hello = packets.read_hello(self._source)
        if hello.revision < packets.OLDEST_CLIENT:
            raise ProtocolError(f"revision {hello.revision} of the client is older than this server speaks")
        self._revision = min(hello.revision, packets.REVISION)
        if hello.database:
            try:
                session.use(hello.database)
            except StatementError as fault:
                self._send(packets.exception(fault.code, fault.message))
                return False
        self._send(packets.hello(self._engine.version, self._engine.timezone, self._revision))
        self._source.skip_texts(1)  # the key of a quota
        return True

    def _next(self, session: Session) -> None:
        kind = self._source.varint()
        if kind == FromClient.PING:
            self._send(packets.PONG)
        elif kind == FromClient.QUERY:
            self._query(session, packets.read_query(self._source))
        elif kind != FromClient.CANCEL:  # which came too late: what it was for has ended
            raise ProtocolError(f"a packet of the kind {kind} where a query was awaited")

    def _query(self, session: Session, query: Query) -> None:
        if self._block(query).columns:
            raise ProtocolError("tables that come with a query are not known here")
        self._pause()
        try:
            session.prepare(query.settings, query.important)
            into = session.awaits_rows(query.sql)
            if into is None:
                self._answer(session, query)
            else:
                self._insert(session, query, into)
        except StatementError as fault:
            self._send(packets.exception(fault.code, fault.message))
        except blocks.UnknownTypeError as fault:
            self._send(packets.exception(_UNKNOWN_TYPE, f"DB::Exception: {fault}"))
        else:
            self._send(packets.END)

    def _answer(self, session: Session, query: Query) -> None:
        total = 0
        with closing(session.answer(query.sql, query.parameters)) as answer:
            for native in answer:
                for block, rows in blocks.to_wire(native):
                    self._send_block(block, query)
                    self._send(packets.progress(rows, len(block), self._revision))
                    total += rows
                if self._cancelled():
                    return
        if not total and (columns := session.columns_of(query.sql, query.parameters)):
            self._send_block(blocks.header(columns), query)

    def _insert(self, session: Session, query: Query, into: Insert) -> None:
        self._send_block(blocks.header(list(into.columns)), query)
        native, total = bytearray(), 0
        while (block := self._block(query)).columns:
            native += block.native
            total += block.rows
            self._send(packets.profile_events())
        if total:
            session.insert(into, bytes(native))
        self._send(packets.profile_events() + packets.progress(total, len(native), self._revision))

    def _block(self, query: Query) -> packets.Block:
        """The next block of the client."""
        self._source.forget()
        kind = self._source.varint()
        if kind != FromClient.DATA:
            raise ProtocolError(f"a packet of the kind {kind} where a block was awaited")
        return packets.read_block(self._source, query.compressed)

    def _cancelled(self) -> bool:
        """Whether the client wants no more of the answer. EOFError when it went away."""
        waiting = self._source.at < len(self._source.data) or select.select([self._peer], [], [], 0)[0]
        if not waiting:
            return False
        kind = self._source.varint()
        if kind != FromClient.CANCEL:
            raise ProtocolError(f"a packet of the kind {kind} in the middle of an answer")
        return True

    def _send_block(self, block: bytes, query: Query) -> None:
        self._send(packets.data(compressed(block) if query.compressed else block))

    def _send(self, packet: bytes) -> None:
        self._peer.sendall(packet)

    def _receive(self) -> bytes:
        piece = self._peer.recv(_PIECE)
        if not piece:
            raise EOFError("the client went away")
        return piece
