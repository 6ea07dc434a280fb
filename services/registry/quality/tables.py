"""The tables of predictions, outcomes and what they add up to."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.records import Series
from services.registry.stores.database import Schema

# Predictions are numbered as they come; only their names are looked up in no order. Features lie apart from them, so
# that what outcomes need stays small. Of what has come true an hour holds the sums, never forgotten, and a series those
# of all its hours, which releases are decided by each second.
SCHEMA = Schema(
    1,
    (
        "CREATE TABLE log (log_id TEXT NOT NULL) STRICT",
        """
        CREATE TABLE series (
          id INTEGER PRIMARY KEY,
          endpoint TEXT NOT NULL,
          model TEXT NOT NULL,
          version TEXT NOT NULL,
          release_id INTEGER NOT NULL,
          step INTEGER NOT NULL,
          kind TEXT NOT NULL,
          counts BLOB
        ) STRICT
        """,
        "CREATE INDEX series_release ON series (endpoint, release_id)",
        """
        CREATE TABLE predictions (
          number INTEGER PRIMARY KEY,
          prediction_id TEXT NOT NULL UNIQUE,
          series INTEGER NOT NULL,
          as_of_us INTEGER NOT NULL,
          expire_us INTEGER NOT NULL,
          scored_rows INTEGER NOT NULL,
          scores BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX predictions_expire ON predictions (expire_us)",
        """
        CREATE TABLE features (
          number INTEGER PRIMARY KEY,
          endpoint TEXT NOT NULL,
          as_of_us INTEGER NOT NULL,
          features BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX features_as_of ON features (endpoint, as_of_us, number)",
        """
        CREATE TABLE outcomes (
          number INTEGER NOT NULL,
          row INTEGER NOT NULL,
          label REAL NOT NULL,
          time_us INTEGER NOT NULL,
          PRIMARY KEY (number, row)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE hours (
          series INTEGER NOT NULL,
          hour INTEGER NOT NULL,
          predictions INTEGER NOT NULL,
          outcomes INTEGER NOT NULL DEFAULT 0,
          counts BLOB,
          PRIMARY KEY (series, hour)
        ) STRICT
        """,
        "CREATE TABLE kept (predictions INTEGER NOT NULL) STRICT",
        "INSERT INTO kept VALUES (0)",
    ),
    synced=True,
)


SERIES = "endpoint, model, version, release_id, step, kind"
"""Columns of a series, as `read_series` takes their values."""


def read_series(values: Sequence[Any]) -> Series:
    """The series of a row."""
    endpoint, model, version, release_id, step, kind = values
    return Series(endpoint, model, version, release_id, step, OutcomeKind(kind))


def pack_scores(scores: Sequence[float]) -> bytes:
    """Eight bytes a row."""
    return struct.pack(f"<{len(scores)}d", *scores)


def unpack_scores(data: bytes) -> tuple[float, ...]:
    """What `pack_scores` has packed."""
    return struct.unpack(f"<{len(data) // 8}d", data)


def listed(numbers: Sequence[object]) -> str:
    """A list of numbers as one parameter for json_each, so that any length has the same statement."""
    return json.dumps(numbers)
