"""What comes back for a request: its slice of a batch, with everything its provenance tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from services.mesh.resilience.effort import NO_EFFORT, Effort

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from services.gateway.routing import Route
    from services.gateway.target import Target
    from services.mesh.errors import MeshError

NOT_STORED = -(2**63)


class FeatureState(Enum):
    """How a view's value was come by when it is not fresh; the value is the wire's number."""

    ABSENT = 1
    STALE_SERVED = 2
    STALE_DEFAULTED = 3
    STALE_REJECTED = 4
    AHEAD = 5


class DegradationReason(Enum):
    """Why an answer is less than it could be; the value is the wire's number."""

    FEATURE_ABSENT = 1
    FEATURE_STALE_SERVED = 2
    FEATURE_STALE_DEFAULTED = 3
    FEATURE_AHEAD = 4
    REGISTRY_UNREACHABLE = 5
    RUNTIME_FAILED = 6
    RUNTIME_SLOW = 7
    RUNTIME_SATURATED = 8
    RUNTIME_NOT_READY = 9
    NODE_FAILED = 10
    FALLBACK = 11
    STORE_UNREACHABLE = 12


@dataclass(slots=True)
class Degradation:
    """One thing that is not as it should be; `rows` empty means all."""

    reason: DegradationReason
    subject: str
    rows: list[int]


@dataclass(slots=True)
class FeatureRows:
    """The feature service's answer for a batch.

    `tensors` in the plan's order, packed; `ages_us` row-major [rows, views], NOT_STORED where nothing is stored;
    `statuses` (row, view index, state) of what is not fresh; `missing` (row, tensor, source) of elements without a value;
    `origins` if asked for, a byte for each element of each tensor; `unreached` the rows, by view index, that the store did
    not answer for, whose values were remembered or are defaults.
    """

    tensors: list[bytes]
    ages_us: memoryview
    statuses: list[tuple[int, int, FeatureState]]
    missing: list[tuple[int, int, int]]
    origins: list[bytes]
    effort: Effort = NO_EFFORT
    unreached: Mapping[int, Collection[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeSource:
    """A runtime that computed rows; with a `reason` where it did so `instead_of` the one of first choice."""

    runtime: str
    reason: DegradationReason | None = None
    instead_of: str = ""


@dataclass(slots=True)
class Inference:
    """The model service's answer for a batch: arrays [rows, ...] by output; codes of rows that failed, by row.

    `row_source` is the index of each row's source, UINT8 [rows]; None where all rows are of the one source.
    """

    outputs: list[npt.NDArray[np.generic]]
    failed_rows: dict[int, int]
    sources: tuple[RuntimeSource, ...]
    row_source: npt.NDArray[np.uint8] | None = None
    effort: Effort = NO_EFFORT


@dataclass(slots=True)
class Explanation:
    """What the model got: per input the array [rows, width]; where its stored elements came from, as FeatureRows has it.

    `from_request` holds (input, offset, row) of what the request brought.
    """

    arrays: list[npt.NDArray[np.generic]]
    origins: list[bytes]
    statuses: list[tuple[int, int, FeatureState]]
    from_request: set[tuple[int, int, int]]
    unreached: Mapping[int, Collection[int]] = field(default_factory=dict)


class NodeState(Enum):
    """What became of rows at a node of a composed version; the value is the wire's number."""

    COMPUTED = 1
    SKIPPED = 2
    DEFAULTED = 3
    LEFT_OUT = 4
    CHOSEN = 5


@dataclass(slots=True)
class NodeStep:
    """What became of rows at a node, as provenance.proto's NodeStep says it; `rows` empty means all."""

    node: str
    state: NodeState
    rows: list[int]
    cause: str = ""
    duration_us: int = 0
    batch_rows: int = 0


class LadderStepKind(Enum):
    """What a step of the fallback ladder is; the value is the wire's number."""

    ROUTE = 1
    VERSION = 2
    LAST_ANSWER = 3
    ANSWER = 4


@dataclass(slots=True)
class LadderStep:
    """One step of the fallback ladder that was tried.

    `answered` are the rows that it answered, `left` why it left others (of the first of them). `version` was asked, which
    is the `target`, or made the last answers, the oldest of which was made `age_ms` before this one.
    """

    kind: LadderStepKind
    version: str
    answered: list[int]
    left: MeshError | None
    duration_us: int
    age_ms: int | None = None
    target: Target | None = None


@dataclass(slots=True)
class Outcome:
    """A member's slice of a batch. `ages_us` is row-major [rows, views] of its rows; durations are microseconds.

    `nodes` is the path through a composed version, `efforts` what hops took beyond one attempt, by name; None: nothing.
    """

    outputs: list[npt.NDArray[np.generic]]
    row_errors: dict[int, MeshError]
    ages_us: list[int]
    degradations: list[Degradation]
    runtime: str
    hops: tuple[tuple[str, int], ...] = ()
    batch_rows: int = 0
    explanation: Explanation | None = None
    nodes: Sequence[NodeStep] = ()
    efforts: Mapping[str, Effort] | None = None


@dataclass(slots=True)
class Prediction:
    """An answer: the outcome, and how it was routed.

    `ladder` holds the steps that were tried, the route's own first, if that left rows; `answered_by` is the step that
    answered every row then, if one did.
    """

    prediction_id: str
    route: Route
    rows: int
    outcome: Outcome
    as_of_us: int
    trace_id: str
    revision: int
    ladder: Sequence[LadderStep] = ()

    @property
    def target(self) -> Target:
        """The version that the outcome tells ages and inputs of: the one that answered every row, or the route's."""
        instead = self.answered_by
        return self.route.target if instead is None or instead.target is None else instead.target

    @property
    def fallback_rows(self) -> set[int]:
        """The rows that a step of the ladder answered in place of the route's version."""
        return {row for step in self.ladder[1:] for row in step.answered}

    @property
    def answered_by(self) -> LadderStep | None:
        """The step of the ladder that answered every row; None if the route's version answered any."""
        if not self.ladder:
            return None
        return next((step for step in self.ladder[1:] if len(step.answered) == self.rows), None)
