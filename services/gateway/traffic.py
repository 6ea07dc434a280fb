"""What releases are judged by: how many requests each version got, failed, and how long the answers took."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.gateway.checks import takes
from services.gateway.errors import FAILURES
from services.gateway.recent import Recent
from services.mesh.errors import Code, MeshError

if TYPE_CHECKING:
    from services.gateway.prediction import Prediction
    from services.gateway.request import PredictCall
    from services.gateway.routing import Arm, Endpoint, Route, RoutingTable

BINS_AN_OCTAVE = 8


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """What traffic.proto's ArmTotals says, at one moment; `latency` has counts by bin."""

    arm: Arm
    requests: int
    errors: int
    latency: Mapping[int, int]


def latency_bin(seconds: float) -> int:
    """Return the bin of a time: i holds those from 2^(i/8) microseconds to below 2^((i+1)/8)."""
    return int(BINS_AN_OCTAVE * math.log2(max(seconds * 1e6, 1.0)))


@dataclass(slots=True)
class _Tally:
    requests: int = 0
    errors: int = 0
    latency: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    taken: int = 0


class Traffic:
    """Counts the requests that a release under way has parted: an observer of predictions, with totals to report.

    A request with a pin is no evidence, nor is one that asks for an explanation, which takes longer. A prediction id that
    a caller gives counts once. Totals outlive their release until the registry has the last of them.
    """

    def __init__(self) -> None:
        self._log_id = ""
        self._releases: Mapping[str, int] = {}
        self._tallies: dict[Arm, _Tally] = {}
        self._recent = Recent()

    def use(self, table: RoutingTable) -> None:
        """Count for the releases of `table` from now on."""
        if table.log_id != self._log_id:
            # Another log gives the same ids to other releases.
            self._tallies.clear()
        self._log_id, self._releases = table.log_id, table.releases
        self._forget()

    def answered(self, call: PredictCall, endpoint: Endpoint, prediction: Prediction, seconds: float) -> None:  # noqa: ARG002 - an Observer
        """Count an answer, as an error too if its version failed one of the rows, though a fallback may have answered."""
        tally = self._tally(call, prediction.route)
        if tally is None:
            return
        tally.requests += 1
        if prediction.ladder:
            # What the others took is not its own.
            seconds = prediction.ladder[0].duration_us / 1e6
        if not prediction.ladder or prediction.ladder[0].answered:
            tally.latency[latency_bin(seconds)] += 1
        row_errors = prediction.outcome.row_errors
        if prediction.ladder or any(error.code in FAILURES for error in row_errors.values()):
            tally.errors += 1

    def failed(self, call: PredictCall, endpoint: Endpoint, route: Route, error: MeshError, seconds: float) -> None:  # noqa: ARG002
        """Count a failure, unless it is the caller's."""
        tally = self._tally(call, route) if _speaks_against(route, error, call, endpoint) else None
        if tally is not None:
            tally.requests += 1
            tally.errors += 1

    def changed(self) -> Sequence[ArmTotals]:
        """Return the totals of which the registry has not the last."""
        return [
            ArmTotals(arm, tally.requests, tally.errors, dict(sorted(tally.latency.items())))
            for arm, tally in self._tallies.items()
            if tally.requests != tally.taken
        ]

    def taken(self, totals: Sequence[ArmTotals]) -> None:
        """Note that the registry has these."""
        for each in totals:
            if tally := self._tallies.get(each.arm):
                tally.taken = each.requests
        self._forget()

    def _tally(self, call: PredictCall, route: Route) -> _Tally | None:
        """Return where to count a request, if it counts."""
        arm = route.arm
        if arm is None or call.explain:
            return None
        if call.prediction_id and not self._recent.add((arm.endpoint, call.prediction_id)):
            return None
        return self._tallies.get(arm) or self._new_tally(arm)

    def _new_tally(self, arm: Arm) -> _Tally | None:
        if self._releases.get(arm.endpoint) != arm.release_id:
            # A straggler of a release whose totals are gone: beginning anew would take back what the registry has.
            return None
        return self._tallies.setdefault(arm, _Tally())

    def _forget(self) -> None:
        """Forget releases that are gone and fully reported."""
        self._tallies = {
            arm: tally
            for arm, tally in self._tallies.items()
            if self._releases.get(arm.endpoint) == arm.release_id or tally.requests != tally.taken
        }


def _speaks_against(route: Route, error: MeshError, call: PredictCall, endpoint: Endpoint) -> bool:
    """Whether a failure is the version's: it broke, or it refuses a request that the release's other version takes."""
    if error.code is not Code.INVALID_ARGUMENT or route.arm is None:
        return error.code in FAILURES
    others = (other.target for other, _ in endpoint.split.shares() if other.target is not route.target)
    return not takes(route.target, call) and any(takes(other, call) for other in others)
