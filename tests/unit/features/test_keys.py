"""Store keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.features.errors import KeyTooLong, MissingKey
from services.features.keys import encoder
from services.features.views import Entity, KeyColumn, KeyType

TEXT = Entity("demo/carrier", (KeyColumn("carrier", KeyType.STRING),))
BOTH = Entity("route", (KeyColumn("origin", KeyType.STRING), KeyColumn("number", KeyType.INT64)))


def test_golden_keys() -> None:
    """The tag in braces is the entity and base64url, without padding, of each column behind its length (u16)."""
    assert b"pm:{demo/carrier:AgBVQQ}:" == encoder(TEXT)("UA")
    assert b"pm:{route:AwBFV1IIAP7_________}:" == encoder(BOTH)(("EWR", -2))


# Together below the limit of 256 bytes.
KEYS = st.tuples(st.text(min_size=1, max_size=50), st.integers(-(2**63), 2**63 - 1))


@given(KEYS, KEYS)
def test_different_keys_differ(one: tuple[str, int], other: tuple[str, int]) -> None:
    """No two keys of an entity share a store key, however their columns are cut."""
    encode = encoder(Entity("e", (KeyColumn("a", KeyType.STRING), KeyColumn("b", KeyType.STRING))))
    texts = [tuple(map(str, key)) for key in (one, other)]

    assert (texts[0] == texts[1]) == (encode(texts[0]) == encode(texts[1]))


@pytest.mark.parametrize(
    ("entity", "key", "error"),
    [
        (TEXT, "", MissingKey),
        (TEXT, "x" * 257, KeyTooLong),
        (TEXT, "ü" * 129, KeyTooLong),
        (BOTH, ("x" * 249, 1), KeyTooLong),
        (BOTH, ("", 1), MissingKey),
    ],
)
def test_bad_keys(entity: Entity, key: object, error: type[Exception]) -> None:
    """A key column is not empty, and the columns have 256 bytes together."""
    with pytest.raises(error):
        encoder(entity)(key)


def test_the_longest_keys() -> None:
    """256 bytes are allowed."""
    assert encoder(TEXT)("x" * 256)
    assert encoder(BOTH)(("x" * 248, 1))
