"""Exported predictions as a Parquet file, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from predictmesh.registry.v1.quality_service_pb2 import ExportedPrediction, ExportPredictionsResponse
from services.cli.errors import Mistake
from services.cli.outcomes.columns import joined, schema_of, table_of
from services.cli.outcomes.spool import Spool

GROUP_ROWS = 50_000
"""Rows of a row group, about."""


class ParquetExport:
    """Takes messages, then writes their predictions: what columns there are is known only at the end.

    `predictions` and `rows` count what has been taken.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._schema: Any = None
        self.predictions = self.rows = 0

    def take(self, message: ExportPredictionsResponse) -> None:
        """Keep the predictions of a message. Mistake if versions differ in the type of a source."""
        self._spool.put(message)
        for prediction in message.predictions:
            schema = schema_of(prediction)
            if self._schema is None:
                self._schema = schema
            elif schema != self._schema:
                self._schema = joined(self._schema, schema)
            self.predictions += 1
            self.rows += len(prediction.prediction.scores)

    def write(self, path: Path) -> None:
        """Write what has been taken. Mistake if the file cannot be written; then there is none, or the one before."""
        try:
            with _replacing(path) as partial, pa.parquet.ParquetWriter(partial, self._schema) as writer:
                for group in self._groups():
                    writer.write_table(table_of(group, self._schema), row_group_size=GROUP_ROWS)
        except OSError as error:
            raise Mistake(f"cannot write {path}: {error.strerror or error}") from error

    def _groups(self) -> Iterator[Sequence[ExportedPrediction]]:
        group: list[ExportedPrediction] = []
        rows = 0
        for message in self._spool.messages():
            for prediction in message.predictions:
                group.append(prediction)
                rows += len(prediction.prediction.scores)
                if rows >= GROUP_ROWS:
                    yield group
                    group, rows = [], 0
        yield group


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when all is well."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
