"""Unary gRPC calls as frames of HTTP/2, made by hand: a tenth of a Python client's cost, and every answer is seen.

Enough of RFC 9113 for a server that behaves: header blocks are not decoded. A call that fails brings no message.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_INITIAL_WINDOW_SIZE = 4
# More than all answers of a connection together, so that none waits for us to take it.
_WINDOW = 2**31 - 1
_HEAD = struct.Struct(">BHBBI")
_HEAD_BYTES = _HEAD.size
# Indexes of RFC 7541's static table.
_POST, _HTTP, _PATH, _AUTHORITY, _CONTENT_TYPE = 3, 6, 4, 1, 31
_FIRST_DYNAMIC = 62

Answered = Callable[[int, bytes | None], None]
"""Told of each call's end: its stream, and the message; None if it failed."""


class Connection(asyncio.Protocol):
    """Calls one method of a server. `lost` is set when the server closes the connection."""

    def __init__(self, authority: str, path: str, timeout_s: int, answered: Answered) -> None:
        self.lost = asyncio.Event()
        self._answered = answered
        self._transport: asyncio.WriteTransport | None = None
        self._received = b""
        self._messages: dict[int, bytes] = {}
        self._stream = -1
        self._first, self._headers = _header_blocks(authority, path, timeout_s)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, and take as much as comes."""
        # uvloop's transports are not of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW)
        window = struct.pack(">I", _WINDOW - 65_535)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def connection_lost(self, error: Exception | None) -> None:
        """Note that no answer comes any more."""
        self.lost.set()

    def call(self, message: bytes) -> int:
        """Send a request, and return its stream. A few at a time, and small: their flow is not controlled."""
        assert self._transport is not None
        self._stream += 2
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
        elif kind == _SETTINGS and not flags & _ACK:
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _GOAWAY:
            self._transport.close()
        if kind == _RST_STREAM or (kind in {_DATA, _HEADERS} and flags & _END_STREAM):
            whole = self._messages.pop(stream, b"")
            self._answered(stream, whole[5:] if whole else None)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _header_blocks(authority: str, path: str, timeout_s: int) -> tuple[bytes, bytes]:
    """Headers of the first call, which the server remembers, and of all others, which refer to them."""
    named = [(_PATH, path), (_AUTHORITY, authority), (_CONTENT_TYPE, "application/grpc")]
    others = [("te", "trailers"), ("grpc-timeout", f"{timeout_s}S")]
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
