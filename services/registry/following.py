"""Endpoints that a change takes along though it is about others: those of an alias that moves, or whose range follows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from services.registry.catalog import Catalog
from services.registry.definitions import Endpoint
from services.registry.endpoints import check_endpoint
from services.registry.errors import IncompatibleChange, ReleaseActive
from services.registry.faults import Faults


def followers(old: Catalog, new: Catalog, given: Collection[str]) -> Iterator[Endpoint]:
    """Endpoints, but for those that are `given`, that other versions answer or stand in for in `new` than in `old`."""
    for endpoint in new.endpoints.values():
        present = old.endpoints.get(endpoint.name)
        if endpoint.name not in given and present and old.serving(present) != new.serving(endpoint):
            yield endpoint


def check_follower(old: Catalog, new: Catalog, endpoint: Endpoint, path: str, faults: Faults) -> None:
    """The endpoint can follow what changes at `path`, and no release of it is under way."""
    if old.release_under_way(endpoint.name):
        faults.add(ReleaseActive, path, f"endpoint {endpoint.name} would follow: {release_first(endpoint.name)}")
        return
    broken = Faults()
    check_endpoint(endpoint, new.models, new.views, f"endpoint {endpoint.name}", broken)
    for description in broken.descriptions:
        selectors = ", ".join(endpoint.serving_selectors)
        faults.add(IncompatibleChange, path, f"endpoint {endpoint.name} follows by {selectors}: {description}")


def release_first(endpoint: str) -> str:
    """Why something cannot change, and what to do."""
    return f"a release of {endpoint} is under way: promote it or roll it back first"
