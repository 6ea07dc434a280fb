"""Store keys: `pm:{<entity>:<base64url of the length-prefixed key columns>}:<view>`.

The braces make a Redis Cluster keep all views of one entity's key in one slot.
"""

from __future__ import annotations

import struct
from binascii import b2a_base64
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache

from services.features.errors import KeyTooLong, MissingKey
from services.features.views import Entity, KeyType
from services.mesh.errors import MeshError

KEY_LIMIT_BYTES = 256
# Of each entity, encoded: a few keys are in most requests, and to encode one costs as much as to read it. About a megabyte.
KEYS_KEPT = 8192

_URLSAFE = bytes.maketrans(b"+/", b"-_")
_LENGTHS = [struct.pack("<H", length) for length in range(KEY_LIMIT_BYTES + 1)]
_INT64 = struct.Struct("<Hq")

# From one row's key (a value, or a tuple of them for several columns) to the store key up to and with the brace.
KeyEncoder = Callable[[Hashable], bytes]


def encoder(entity: Entity) -> KeyEncoder:
    """Return the function that encodes a key of `entity`. It raises MissingKey or KeyTooLong."""
    prefix = f"pm:{{{entity.name}:".encode()
    if len(entity.columns) == 1:
        column = _COLUMN_ENCODERS[entity.columns[0].type]
        # A batch encodes hundreds of these: one call less each is seen.
        return lambda value: (
            b"%b%b}:"
            % (
                prefix,
                b2a_base64(column(value), newline=False).translate(_URLSAFE).rstrip(b"="),
            )
        )
    columns = [_COLUMN_ENCODERS[each.type] for each in entity.columns]

    def encode(values: Hashable) -> bytes:
        parts = [column(value) for column, value in zip(columns, values, strict=True)]  # type: ignore[call-overload]
        if sum(map(len, parts)) - 2 * len(parts) > KEY_LIMIT_BYTES:
            raise KeyTooLong(f"The key columns exceed {KEY_LIMIT_BYTES} bytes together")
        return prefix + _base64url(b"".join(parts)) + b"}:"

    return lru_cache(KEYS_KEPT)(encode)


def rows_of(columns: Sequence[Sequence[Hashable]]) -> Sequence[Hashable]:
    """Return one hashable key a row, as `encoder` takes them."""
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def encode_valid(encode: KeyEncoder, rows: Iterable[Hashable]) -> tuple[list[bytes], dict[int, MeshError]]:
    """Encode every row; return the keys (empty where there is none) and the error of each bad row."""
    keys: list[bytes] = []
    errors: dict[int, MeshError] = {}
    for row, value in enumerate(rows):
        try:
            keys.append(encode(value))
        except (MissingKey, KeyTooLong) as error:
            keys.append(b"")
            errors[row] = error
    return keys, errors


def column_at_fault(row: Hashable) -> int:
    """Return the column that makes `row` a bad key: the empty one, else the longest."""
    values = row if isinstance(row, tuple) else (row,)
    sizes = [len(value.encode()) if isinstance(value, str) else 8 for value in values]
    return sizes.index(0) if 0 in sizes else sizes.index(max(sizes))


def _text(value: str) -> bytes:
    raw = value.encode()
    size = len(raw)
    if not size:
        raise MissingKey("A key is empty")
    if size > KEY_LIMIT_BYTES:
        raise KeyTooLong(f"A key column exceeds {KEY_LIMIT_BYTES} bytes")
    return _LENGTHS[size] + raw


def _number(value: int) -> bytes:
    return _INT64.pack(8, value)


def _base64url(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).translate(_URLSAFE).rstrip(b"=")


_COLUMN_ENCODERS: dict[KeyType, Callable[..., bytes]] = {KeyType.STRING: _text, KeyType.INT64: _number}
