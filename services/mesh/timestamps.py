"""Times between the domain, in microseconds since the epoch, and the wire."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp_of(microseconds: int) -> Timestamp:
    """Return a time in microseconds since the epoch as the wire has it."""
    seconds, micros = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)
