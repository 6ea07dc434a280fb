"""Which version answers: decided in memory, from the newest snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from services.gateway.errors import UnknownEndpoint, UnknownVersion
from services.mesh.selectors import is_range, newest_in, ranges_of, resolve

if TYPE_CHECKING:
    from services.gateway.ladder.steps import Fallback
    from services.gateway.policies import OutcomePolicy, Shadow
    from services.gateway.splitting import Split
    from services.gateway.target import Target


class RouteReason(Enum):
    """Why a version was chosen; the value is the wire's number."""

    PINNED = 1
    PINNED_ALIAS = 2
    ENDPOINT_VERSION = 3
    ENDPOINT_ALIAS = 4
    PINNED_RANGE = 5
    ENDPOINT_RANGE = 6
    ENDPOINT_WEIGHT = 7
    CANARY = 8
    STABLE = 9
    FALLBACK = 10


class Keys(Protocol):
    """A column of entity keys as it came."""

    @property
    def name(self) -> str:
        """The key column."""

    @property
    def values(self) -> Sequence[object]:
        """One value a row."""


class Arm(NamedTuple):
    """One version in one step of a release: what evidence is counted by."""

    endpoint: str
    release_id: int
    step: int
    version: str


@dataclass(frozen=True, slots=True)
class Route:
    """A target, and why it was chosen; with the `arm` of the release that chose it, if one did."""

    target: Target
    reason: RouteReason
    arm: Arm | None = None


@dataclass(frozen=True)
class Versions:
    """Every version of a model that can be used, by number and by what else leads to it."""

    model: str
    targets: Mapping[str, Target]
    aliases: Mapping[str, str]
    released: Collection[str]

    @cached_property
    def _pins(self) -> Mapping[str, Route]:
        """The route of every selector that leads somewhere."""
        ranges = {range_ for version in self.released for range_ in ranges_of(version)}
        newest = {range_: newest_in(range_, self.released) for range_ in sorted(ranges)}
        return {
            **{name: Route(target, RouteReason.PINNED) for name, target in self.targets.items()},
            **{name: Route(self.targets[at], RouteReason.PINNED_ALIAS) for name, at in self.aliases.items()},
            **{name: Route(self.targets[at], RouteReason.PINNED_RANGE) for name, at in newest.items() if at},
        }

    def pinned(self, selector: str) -> Route:
        """Return the route of a caller who names a version, an alias or a range; raises UnknownVersion."""
        found = self._pins.get(selector)
        if found is None:
            raise UnknownVersion(
                f"model {self.model} has no {self._lacks(selector)}", field="version", model=self.model
            )
        return found

    def _lacks(self, selector: str) -> str:
        if is_range(selector):
            return f"released version in the range {selector!r}; released are {', '.join(self.released) or 'none'}"
        return f"version or alias {selector!r}; it has {', '.join((*self.targets, *self.aliases))}"

    def find(self, selector: str) -> Target | None:
        """Return the target that a version, an alias or a range leads to, if it leads anywhere."""
        version = resolve(selector, self.targets, self.aliases, self.released)
        return self.targets[version] if version else None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint: what answers a request without a pin, and all versions of its model for those with one.

    Where `split` has several routes, the value of the key column `sticky_key` chooses, or the prediction's id if that is
    "". `fallbacks` has the steps that are taken where a target of the `split` fails, if there are any. `sample_entities` and `sample_features` are a request that can be sent, as the wire has it.
    """

    name: str
    description: str
    versions: Versions
    split: Split[Route]
    sticky_key: str
    shadow: Shadow | None
    outcomes: OutcomePolicy | None
    fallbacks: Mapping[Target, Sequence[Fallback]]
    default_timeout_s: float
    sample_entities: Sequence[Any]
    sample_features: Sequence[Any]

    @property
    def default(self) -> Route:
        """The route of a request without a pin; of several the one with the largest share."""
        return max(self.split.shares(), key=itemgetter(1))[0]

    def choose(self, pin: str, prediction_id: str, entities: Iterable[Keys]) -> Route:
        """Return the route of a request; a `pin` of a version, an alias or a range wins over everything."""
        if pin:
            return self.versions.pinned(pin)
        if self.split.only is not None:
            return self.split.only
        return self.split.choose(self._sticky_value(entities) or prediction_id)

    def _sticky_value(self, entities: Iterable[Keys]) -> str:
        """Return the first row's value of the sticky key; "" without one, and also where the column is missing.

        Such a request will be refused, whichever version it is checked against.
        """
        if not self.sticky_key:
            return ""
        return next(
            (str(column.values[0]) for column in entities if column.name == self.sticky_key and column.values), ""
        )


@dataclass(frozen=True)
class RoutingTable:
    """All endpoints at one revision of the log `log_id`; with the last release of each endpoint that has had one."""

    revision: int
    endpoints: Mapping[str, Endpoint]
    log_id: str
    releases: Mapping[str, int]

    def endpoint(self, name: str) -> Endpoint:
        """Return the endpoint; raises UnknownEndpoint."""
        found = self.endpoints.get(name)
        if found is None:
            raise UnknownEndpoint(
                f"there is no endpoint {name!r}; ListEndpoints says which there are", field="endpoint", endpoint=name
            )
        return found
