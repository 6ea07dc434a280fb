"""What a trial came to, computed from its records, and what is demanded of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.chaos.harness.callers import LADDERED, PLAIN
from tests.chaos.harness.history import Call, Ending, History
from tests.chaos.harness.shedding import Shedding, shedding

# Answers that say so are not what they should be once the fault is over.
OF_A_FAULT = frozenset(
    {
        "STORE_UNREACHABLE",
        "FALLBACK",
        "REGISTRY_UNREACHABLE",
        "RUNTIME_FAILED",
        "RUNTIME_SLOW",
        "RUNTIME_SATURATED",
        "RUNTIME_NOT_READY",
    }
)
# The part of all predictions that may hear of their deadline from gRPC's own clock, a moment before the gateway's word
# comes; and that may fail where others take the machine, which is no doing of the fault's.
LATE = 0.02
LATE_CODE = "DEADLINE_EXCEEDED"
# What gRPC itself says of a server that is gone, or that has been away for so long that it drops what has piled up.
GONE_CODES = ("UNAVAILABLE", LATE_CODE, "CANCELLED")
PREDICTIONS = frozenset({PLAIN, LADDERED})
WRITES = frozenset({"write"})
DEFINITIONS = frozenset({"apply"})


@dataclass(frozen=True)
class Demands:
    """Limits of a verdict. What is never allowed has none: wrong answers, lost writes, failures without a reason."""

    recovery_s: float = 2.0
    """From the fault's end to the beginning of the last call that failed, or was degraded by it."""
    coping_s: float | None = None
    """The same from the fault's beginning, for predictions that began before its end: whoever writes calls the services by
    gRPC's own means, which keep to a server that hangs. None: as long as it lasts."""
    failures: int | None = None
    """Predictions that fail in all."""
    downstream: float = 1.1
    """Calls of each kind that gateways make for a prediction."""
    growth_mib: float = 64.0
    """Memory that a process takes more than before."""
    nobody_answers: frozenset[str] = frozenset()
    """Methods whose server goes away itself: it cannot tell those whom it was to answer."""


@dataclass(frozen=True)
class Verdict:
    """What a trial came to. Times in seconds; `failed` counts by code and reason."""

    predictions: int
    answered: int
    left: int
    failed: Counter[tuple[str, str]]
    degraded: Counter[str]
    wrong: list[str]
    lost: list[str]
    acknowledged: int
    coped_s: float
    recovered_s: float
    downstream: Mapping[str, float]
    growth_mib: Mapping[str, float]
    silent: Counter[tuple[str, str]]
    """Failures without a reason, by method and code."""
    failed_predictions: int
    ladder_failures: int
    """Failures of the endpoint whose ladder ends in a static answer, but those refused for overload, and those too late."""
    messages: Counter[str]
    shed: Shedding
    """Of the predictions, those refused for overload."""
    machine_taken: bool
    """Whether others took the machine meanwhile, so that times say nothing."""

    @property
    def is_grave(self) -> bool:
        """Whether something happened that no machine is too slow for."""
        return bool(self.wrong or self.lost)

    def is_in_doubt(self, demands: Demands, *, short: bool) -> bool:
        """Whether the machine may be to blame for what is not as demanded.

        That is where others took it, and in a short trial, of which a single stall is a good part, in any case.
        """
        return bool(self.faults(demands)) and not self.is_grave and (short or self.machine_taken)

    def faults(self, demands: Demands) -> list[str]:
        """What is not as demanded, in words."""
        return [*self._never(demands), *self._beyond(demands)]

    def _never(self, demands: Demands) -> Iterable[str]:
        if self.wrong:
            yield f"{len(self.wrong)} wrong answers, e.g. {self.wrong[:3]}"
        if self.lost:
            yield f"{len(self.lost)} acknowledged writes lost, e.g. {self.lost[:3]}"
        if silent := [kind for kind in self.silent if kind not in self._excused(demands)]:
            yield f"failures without a reason: {[(*kind, self.silent[kind]) for kind in silent]}"
        if self.ladder_failures > self._allowance and LADDERED not in demands.nobody_answers:
            yield f"{self.ladder_failures} failures in spite of a ladder"
        if not self.answered:
            yield "nothing was answered"

    def _beyond(self, demands: Demands) -> Iterable[str]:
        if self.recovered_s > demands.recovery_s:
            yield f"failures or degraded answers of calls until {self.recovered_s:.1f} s after the fault's end"
        if demands.coping_s is not None and self.coped_s > demands.coping_s:
            yield f"failures of predictions until {self.coped_s:.1f} s after the fault's beginning"
        if demands.failures is not None and self.failed_predictions > demands.failures + self._allowance:
            yield f"{self.failed_predictions} predictions failed, {demands.failures} may: {self.failed}"
        for method, ratio in self.downstream.items():
            if ratio > demands.downstream:
                yield f"{ratio:.2f} calls of {method} a prediction"
        for name, grown in self.growth_mib.items():
            if grown > demands.growth_mib:
                yield f"{name} grew by {grown:.0f} MiB"

    @property
    def _allowance(self) -> int:
        return self._few if self.machine_taken else 0

    @property
    def _few(self) -> int:
        return int(LATE * self.predictions)

    def _excused(self, demands: Demands) -> set[tuple[str, str]]:
        """Failures, by method and code, that only the caller's own end can speak of."""
        gone = {(method, code) for method in demands.nobody_answers for code in GONE_CODES}
        late = {(method, LATE_CODE) for method in PREDICTIONS}
        return gone | late if sum(self.silent[kind] for kind in late) <= self._few else gone

    def demand(self, demands: Demands | None = None) -> None:
        """Fail unless all is as demanded."""
        found = self.faults(demands or Demands())
        assert not found, "\n".join([*found, f"messages: {self.messages.most_common(5)}", str(self)])


def judge(
    history: History, downstream: Mapping[str, float], growth_mib: Mapping[str, float], *, machine_taken: bool
) -> Verdict:
    """Return the verdict on a trial; `downstream` counts the calls of gateways by method."""
    failures = [call for call in history.calls if call.ending is Ending.FAILED]
    predictions = [call for call in history.calls if call.method in PREDICTIONS]
    unanswered = [call for call in predictions if call.ending is Ending.FAILED]
    hurt = [call for call in history.calls if call.ending is Ending.FAILED or call.degradations & OF_A_FAULT]
    return Verdict(
        predictions=len(predictions),
        answered=sum(call.ending is Ending.ANSWERED for call in predictions),
        left=sum(call.ending is Ending.LEFT for call in predictions),
        failed=Counter(_kind(call) for call in failures),
        degraded=Counter(name for call in predictions for name in call.degradations),
        wrong=[call.wrong for call in predictions if call.wrong],
        lost=history.lost,
        acknowledged=history.acknowledged,
        coped_s=_last((call for call in unanswered if call.started < history.ended_at), history.struck_at),
        recovered_s=_last(hurt, history.ended_at),
        downstream={method: count / max(1, len(predictions)) for method, count in downstream.items()},
        growth_mib=growth_mib,
        silent=Counter(
            (call.method, call.failure.code) for call in failures if call.failure and not call.failure.reason
        ),
        failed_predictions=len(unanswered),
        ladder_failures=sum(call.method == LADDERED and not _beyond_ladder(*_kind(call)) for call in failures),
        messages=Counter(call.failure.message for call in failures if call.failure),
        shed=shedding(predictions),
        machine_taken=machine_taken,
    )


def _beyond_ladder(code: str, reason: str) -> bool:
    """Whether a failure is none that a ladder could have prevented."""
    return reason == "OVERLOADED" or (code == LATE_CODE and not reason)


def _kind(call: Call) -> tuple[str, str]:
    assert call.failure is not None
    return call.failure.code, call.failure.reason


def _last(calls: Iterable[Call], since: float) -> float:
    """How long after `since` the last of the calls began; 0 where none did."""
    return max((call.started - since for call in calls if call.started > since), default=0.0)
