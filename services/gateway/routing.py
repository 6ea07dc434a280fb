"""Which version answers: decided in memory, from the newest snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from services.gateway.errors import UnknownEndpoint, UnknownVersion
from services.gateway.target import Target


class RouteReason(Enum):
    """Why a version was chosen; the value is the wire's number."""

    PINNED = 1
    PINNED_ALIAS = 2
    ENDPOINT_VERSION = 3
    ENDPOINT_ALIAS = 4


@dataclass(frozen=True, slots=True)
class Route:
    """A target, and why it was chosen."""

    target: Target
    reason: RouteReason


@dataclass(frozen=True)
class Endpoint:
    """An endpoint with every version of its model. `default` answers a request without a pin.

    `sample_entities` and `sample_features` are a request that can be sent, as the wire has it.
    """

    name: str
    description: str
    model: str
    default: Route
    versions: Mapping[str, Target]
    aliases: Mapping[str, str]
    default_timeout_s: float
    sample_entities: Sequence[Any]
    sample_features: Sequence[Any]

    def choose(self, pin: str) -> Route:
        """Return the target for `pin`: a semantic version, an alias, or "" for the endpoint's own."""
        if not pin:
            return self.default
        if pin in self.versions:
            return Route(self.versions[pin], RouteReason.PINNED)
        if pin in self.aliases:
            return Route(self.versions[self.aliases[pin]], RouteReason.PINNED_ALIAS)
        known = ", ".join((*self.versions, *self.aliases))
        raise UnknownVersion(
            f"model {self.model} has no version or alias {pin!r}; it has {known}", field="version", model=self.model
        )


@dataclass(frozen=True)
class RoutingTable:
    """All endpoints at one revision."""

    revision: int
    endpoints: Mapping[str, Endpoint]

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint; raises UnknownEndpoint."""
        found = self.endpoints.get(name)
        if found is None:
            raise UnknownEndpoint(
                f"there is no endpoint {name!r}; ListEndpoints says which there are", field="endpoint", endpoint=name
            )
        return found
