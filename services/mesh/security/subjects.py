"""What a request is about: the names in it, each with the path of its field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

# Messages are of every type here: a rule says which of these fits those of its method.
Subjects = Callable[[Any], Iterator[tuple[str, str]]]
_DELETED = ("feature_view", "model", "endpoint")


def field(path: str) -> Subjects:
    """Return what reads one field, by its path in the message."""
    steps = path.split(".")

    def read(request: Any) -> Iterator[tuple[str, str]]:
        yield path, reduce(getattr, steps, request)

    return read


def resources(request: Any) -> Iterator[tuple[str, str]]:
    """Read the names of all definitions in an ApplyRequest."""
    for index, resource in enumerate(request.resources):
        kind = resource.WhichOneof("kind")
        if kind is not None:
            yield f"resources[{index}].{kind}.name", getattr(resource, kind).name


def deleted(request: Any) -> Iterator[tuple[str, str]]:
    """Read the name of what a DeleteRequest deletes. An artifact has none: it is any model's."""
    target = request.WhichOneof("target")
    if target == "version":
        yield "version.model", request.version.model
    elif target is not None:
        yield target, getattr(request, target) if target in _DELETED else ""
