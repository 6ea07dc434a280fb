"""Collects everything wrong with a request, so that its author sees it at once."""

from __future__ import annotations

from services.mesh.errors import Code, FieldViolation, MeshError
from services.registry.errors import InvalidDefinition

# More than anybody reads, and a request can break one rule a million times.
MAX_FAULTS = 100


class Faults:
    """The faults found so far, up to MAX_FAULTS."""

    def __init__(self) -> None:
        self._found: list[tuple[type[MeshError], FieldViolation]] = []

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._found)

    @property
    def descriptions(self) -> list[str]:
        """What is wrong, in the order found."""
        return [violation.description for _, violation in self._found]

    def add(self, error: type[MeshError], field: str, description: str) -> None:
        """Note that `field` (its path in the request) breaks a rule."""
        if len(self._found) < MAX_FAULTS:
            self._found.append((error, FieldViolation(field, description)))

    def extend(self, others: Faults) -> None:
        """Note what others have found."""
        self._found = (self._found + others._found)[:MAX_FAULTS]

    def check(self) -> None:
        """Raise one error that names the faults; nothing if there is none.

        Faults of one kind keep their reason. Of several kinds, those that no other state of the registry would cure
        come first: their reason is INVALID_DEFINITION.
        """
        if not self._found:
            return
        violations = tuple(violation for _, violation in self._found)
        raise self._kind()("; ".join(f"{each.field}: {each.description}" for each in violations), violations=violations)

    def _kind(self) -> type[MeshError]:
        kinds = list(dict.fromkeys(kind for kind, _ in self._found))
        incurable = [kind for kind in kinds if kind.code is Code.INVALID_ARGUMENT]
        if len(kinds) == 1 or not incurable:
            return kinds[0]
        return incurable[0] if len(incurable) == 1 else InvalidDefinition
