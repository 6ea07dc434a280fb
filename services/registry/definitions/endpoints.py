"""Endpoints: which versions answer, and what is kept of their answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from services.registry.definitions.tensors import Tensor


class OutcomeKind(enum.StrEnum):
    """What a label is: 0 or 1, or a number."""

    UNSPECIFIED = ""
    BINARY = "BINARY"
    REGRESSION = "REGRESSION"


@dataclass(frozen=True, slots=True)
class WeightedVersion:
    """A version, by number, alias or range, and its share of the requests in percent."""

    selector: str
    percent: float


@dataclass(frozen=True, slots=True)
class Route:
    """Which version answers: exactly one of `version`, `alias` and `range` is set, or `weights` are."""

    version: str = ""
    alias: str = ""
    range: str = ""
    weights: tuple[WeightedVersion, ...] = ()

    @property
    def selectors(self) -> tuple[str, ...]:
        """Everything that it leads to."""
        single = self.version or self.alias or self.range
        return (single,) if single else tuple(weight.selector for weight in self.weights)


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that is asked as well, for a share in percent; values that differ by no more than the two agree."""

    selector: str
    percent: float
    absolute_tolerance: float = 0.0
    relative_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class OutcomePolicy:
    """Which predictions are kept for their outcomes, and what their score is: an element of an output's row.

    Shares are percent of the predictions, `sample_percent` 0 is all; `expire_ms` 0 is 7 days.
    """

    output: str
    kind: OutcomeKind
    element: int = 0
    sample_percent: float = 0.0
    expire_ms: int = 0
    capture_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """An answer that is always the same: one row of every output."""

    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Fallback:
    """A step of the fallback ladder: exactly one of the three is set. The version is a number, an alias or a range."""

    version: str = ""
    last_answer_max_age_ms: int = 0
    answer: StaticAnswer | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A name that callers predict by, and what answers it. A timeout of 0 ms is the default one."""

    name: str
    model: str
    route: Route
    description: str = ""
    default_timeout_ms: int = 0
    sample_entities: tuple[Tensor, ...] = ()
    sample_features: tuple[Tensor, ...] = ()
    sticky_key: str = ""
    shadow: Shadow | None = None
    outcomes: OutcomePolicy | None = None
    fallbacks: tuple[Fallback, ...] = ()

    @property
    def selectors(self) -> tuple[str, ...]:
        """By what it names versions: in its route, for its shadow, and as steps of its ladder."""
        return (*self.serving_selectors, self.shadow.selector) if self.shadow else self.serving_selectors

    @property
    def serving_selectors(self) -> tuple[str, ...]:
        """By what it names versions that callers may have an answer of: in its route, and as steps of its ladder."""
        return (*self.route.selectors, *(step.version for step in self.fallbacks if step.version))
