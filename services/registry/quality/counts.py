"""What outcomes add up to, by the kind of their labels, and its bytes in the store."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from services.registry.definitions.endpoints import OutcomeKind
from services.registry.quality.measures import BINS, ErrorSums, ScoreCounts

Counts = ScoreCounts | ErrorSums

_SUMS = struct.Struct("<q4d")
_COUNT = np.dtype("<i8")


def nothing(kind: OutcomeKind) -> Counts:
    """No outcomes yet."""
    return ScoreCounts.none() if kind is OutcomeKind.BINARY else ErrorSums()


def counted(pairs: Sequence[tuple[float, float]], kind: OutcomeKind) -> Counts:
    """Count outcomes: (score, label) of each."""
    scores, labels = np.array(pairs).T
    return ScoreCounts.of(scores, labels) if kind is OutcomeKind.BINARY else ErrorSums.of(scores - labels)


def merged(one: Counts, other: Counts) -> Counts:
    """Both together; TypeError if they are of two kinds."""
    if isinstance(one, ScoreCounts) and isinstance(other, ScoreCounts):
        return one + other
    if isinstance(one, ErrorSums) and isinstance(other, ErrorSums):
        return one + other
    raise TypeError("labels of two kinds do not add up")


def pack(counts: Counts) -> bytes:
    """Bytes for the store; bins are mostly empty, and take no room then."""
    if isinstance(counts, ScoreCounts):
        return zlib.compress(counts.counts.astype(_COUNT).tobytes(), 1)
    return _SUMS.pack(counts.n, counts.total, counts.absolute, counts.squared, counts.fourth)


def unpack(data: bytes | None, kind: OutcomeKind) -> Counts:
    """What `pack` has packed; without data nothing."""
    if data is None:
        return nothing(kind)
    if kind is OutcomeKind.BINARY:
        return ScoreCounts(np.frombuffer(zlib.decompress(data), _COUNT).reshape(2, BINS).astype(np.int64, copy=False))
    return ErrorSums(*_SUMS.unpack(data))
