"""Unary gRPC calls as frames of HTTP/2, made by hand: a tenth of a Python client's cost, and every answer is seen.

Enough of RFC 9113 for a server that behaves and is made of grpc: of header blocks only the status is read.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
# More than all answers of a connection together, so that none waits for us to take it.
_WINDOW = 2**31 - 1
_HEAD = struct.Struct(">BHBBI")
_HEAD_BYTES = _HEAD.size
# Indexes of RFC 7541's static table.
_POST, _HTTP, _PATH, _AUTHORITY, _CONTENT_TYPE = 3, 6, 4, 1, 31
_FIRST_DYNAMIC = 62

# A name with its length, as it stands in trailers where no table of headers is kept; the length of the digits follows.
_GRPC_STATUS = b"\x0bgrpc-status"
OK, UNAVAILABLE, _INTERNAL = 0, 14, 13
# What gRPC makes of a stream that is reset, by HTTP/2's error: refused, cancelled, too many calls.
_RESET = {7: UNAVAILABLE, 8: 1, 11: 8}

Answered = Callable[[int, int, bytes], None]
"""Told of each call's end: its stream, its status, and the message, which is empty if it failed."""


class Connection(asyncio.Protocol):
    """Calls one method of a server, each call with the same headers besides those of gRPC.

    `leaving` is set when the server asks for no more calls, `lost` when the connection is closed.
    """

    def __init__(self, authority: str, path: str, headers: Mapping[str, str], answered: Answered) -> None:
        self.leaving, self.lost = asyncio.Event(), asyncio.Event()
        self._answered = answered
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._messages: dict[int, bytes] = {}
        self._under_way: set[int] = set()
        self._stream = -1
        self._first, self._headers = _header_blocks(authority, path, headers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, and take as much as comes."""
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _WINDOW)
        window = struct.pack(">I", _WINDOW - 65_535)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the calls under way: no answer comes any more."""
        self.leaving.set()
        self.lost.set()
        for stream in tuple(self._under_way):
            self._end(stream, UNAVAILABLE)

    def call(self, message: bytes) -> int:
        """Send a request, and return its stream. Small ones: their flow is not controlled. Nothing ends it once `lost`."""
        assert self._transport is not None
        self._stream += 2
        self._under_way.add(self._stream)
        headers, self._first = self._first or self._headers, b""
        body = b"\0" + struct.pack(">I", len(message)) + message
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, self._stream, headers) + _frame(_DATA, _END_STREAM, self._stream, body)
        )
        return self._stream

    def close(self) -> None:
        """End it."""
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        received = self._received + data if self._received else data
        at = 0
        while at + _HEAD_BYTES <= len(received):
            high, low, kind, flags, stream = _HEAD.unpack_from(received, at)
            end = at + _HEAD_BYTES + (high << 16 | low)
            if end > len(received):
                break
            self._take(kind, flags, stream & _WINDOW, received[at + _HEAD_BYTES : end])
            at = end
        self._received = received[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _DATA:
            self._messages[stream] = self._messages.get(stream, b"") + payload
        elif kind == _HEADERS and flags & _END_STREAM:
            self._end(stream, _status(payload))
        elif kind == _RST_STREAM:
            self._end(stream, _RESET.get(int.from_bytes(payload), _INTERNAL))
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self.leaving.set()

    def _end(self, stream: int, status: int) -> None:
        if stream in self._under_way:
            self._under_way.discard(stream)
            whole = self._messages.pop(stream, b"")
            self._answered(stream, status, whole[5:] if status == OK else b"")


def _status(trailers: bytes) -> int:
    at = trailers.index(_GRPC_STATUS) + len(_GRPC_STATUS)
    return int(trailers[at + 1 : at + 1 + trailers[at]])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _header_blocks(authority: str, path: str, headers: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Headers of the first call, which the server remembers, and of all others, which refer to them."""
    named = [(_PATH, path), (_AUTHORITY, authority), (_CONTENT_TYPE, "application/grpc")]
    others = [("te", "trailers"), *headers.items()]
    always = bytes([0x80 | _POST, 0x80 | _HTTP])
    first = b"".join(
        [always]
        + [bytes([0x40 | index]) + _text(value) for index, value in named]
        + [b"\x40" + _text(name) + _text(value) for name, value in others]
    )
    count = len(named) + len(others)
    return first, always + bytes(0x80 | _FIRST_DYNAMIC + index for index in reversed(range(count)))


def _text(text: str) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()
