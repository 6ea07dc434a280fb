"""Processes of two releases understand each other: bytes of the last one mean today what they meant then."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.contract.wire.golden import Golden, meaning, stored, uncovered
from tests.contract.wire.samples import message_types, new

GOLDEN = stored()
IDS = [f"{each.name} {number}" for number, each in enumerate(GOLDEN)]


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_old_bytes_are_understood(golden: Golden) -> None:
    """Every field is found under its name, with its value, and none is unknown."""
    message = new(golden.name)
    message.ParseFromString(bytes.fromhex(golden.hex))
    assert golden.meaning == meaning(message)
    assert 0 == len(UnknownFieldSet(message))


@pytest.mark.parametrize("golden", GOLDEN, ids=IDS)
def test_the_same_is_written_as_it_was(golden: Golden) -> None:
    """What an old process reads of a new one is what is meant."""
    message = ParseDict(golden.meaning, new(golden.name))
    assert golden.hex == message.SerializeToString(deterministic=True).hex()


def test_nothing_is_without_a_sample() -> None:
    """`python -m tests.contract.wire.golden` adds what is missing."""
    missing = sorted(name for kind in message_types() for name in uncovered(kind, GOLDEN))
    assert [] == missing
