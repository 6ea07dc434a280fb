"""What callers send to an endpoint, which two versions that part its requests must take alike."""

from __future__ import annotations

from services.registry.binding import Value, Views, keys_of, requests_of
from services.registry.definitions import Version


def differing(stable: Version, candidate: Version, views: Views) -> list[str]:
    """What a request to `stable` would have to say otherwise to `candidate`: keys and request-time features, exactly.

    A request that misses one is refused, and so is one with one too many: a share of the callers would have nothing else.
    """
    before, after = keys_of(stable, views), keys_of(candidate, views)
    keys = [
        f"key column {name}" for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)
    ]
    had, has = requests_of(stable), requests_of(candidate)
    features = [
        f"request-time feature {name}"
        for name in sorted(had.keys() | has.keys())
        if not _alike(had.get(name), has.get(name))
    ]
    return keys + features


def _alike(before: Value | None, after: Value | None) -> bool:
    """Whether the same values fit both: numbers with a point have one list for all their types."""
    if before is None or after is None:
        return False
    same_kind = before.data_type is after.data_type or (before.data_type.is_float and after.data_type.is_float)
    return same_kind and before.count == after.count
