"""Messages that are read twice, kept in a temporary file meanwhile."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from predictmesh.registry.v1.quality_service_pb2 import ExportPredictionsResponse

_LENGTH = struct.Struct("<Q")


class Spool:
    """Context manager of the file; the messages come back in their order."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the spool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, message: ExportPredictionsResponse) -> None:
        """Append a message."""
        data = message.SerializeToString()
        self._file.write(_LENGTH.pack(len(data)) + data)

    def messages(self) -> Iterator[ExportPredictionsResponse]:
        """Yield every message from the first."""
        self._file.seek(0)
        while header := self._file.read(_LENGTH.size):
            (length,) = _LENGTH.unpack(header)
            yield ExportPredictionsResponse.FromString(self._file.read(length))
