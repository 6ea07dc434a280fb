"""Bytes as released clients and services write them, with what they mean; `python -m tests.contract.wire.golden` adds.

What is in the files stays: a sample is added for a message, or for a field, that has none yet, and none is changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tests.contract.wire.samples import message_types, samples

FOLDER = Path(__file__).parent / "golden"


class Golden(NamedTuple):
    """One sample: the bytes of a message, hex, and what they mean, as JSON."""

    name: str
    hex: str
    meaning: dict[str, Any]

    @classmethod
    def of(cls, message: Message) -> Golden:
        """The sample that a message is."""
        data = message.SerializeToString(deterministic=True)
        return cls(message.DESCRIPTOR.full_name, data.hex(), meaning(message))


def meaning(message: Message) -> dict[str, Any]:
    """What a message says, by the names of the fields."""
    return MessageToDict(message, preserving_proto_field_name=True)


def stored() -> list[Golden]:
    """Every sample of every file."""
    return [
        Golden(name, each["hex"], each["meaning"])
        for path in sorted(FOLDER.glob("*.json"))
        for name, found in json.loads(path.read_text()).items()
        for each in found
    ]


def uncovered(kind: Descriptor, known: list[Golden]) -> set[str]:
    """Fields of a message that no sample has; its name alone if it has no sample at all."""
    own = [each for each in known if each.name == kind.full_name]
    if not own:
        return {kind.full_name}
    seen = {field for each in own for field in each.meaning}
    return {f"{kind.full_name}.{field.name}" for field in kind.fields if field.name not in seen}


def _add() -> None:
    known = stored()
    for kind in message_types():
        if uncovered(kind, known):
            made = (Golden.of(message) for message in samples(kind))
            known += [each for each in made if each not in known]
    FOLDER.mkdir(exist_ok=True)
    files: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for each in known:
        content = files.setdefault(each.name.split(".")[1], {})
        content.setdefault(each.name, []).append({"hex": each.hex, "meaning": each.meaning})
    for area, content in files.items():
        (FOLDER / f"{area}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    _add()
