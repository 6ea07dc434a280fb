"""How urgent a call is, as its caller says in the metadata `x-priority`."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from services.mesh.errors import InvalidArgument

PRIORITY = "x-priority"


class Priority(enum.IntEnum):
    """The names are what callers send, in lower case."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


BY_NAME: Mapping[str | bytes, Priority] = {priority.name.lower(): priority for priority in Priority}


def priority_of(metadata: Mapping[str, str | bytes]) -> Priority:
    """Return the priority of a call by its metadata, NORMAL where it says nothing; raises InvalidArgument."""
    name = metadata.get(PRIORITY)
    if name is None:
        return Priority.NORMAL
    found = BY_NAME.get(name)
    if found is None:
        raise InvalidArgument(f"{PRIORITY} is high, normal or low, not {name!r}", field=PRIORITY)
    return found
