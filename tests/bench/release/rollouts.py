"""Simulated rollouts: the controller's own decisions over made-up traffic, a look every second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from services.registry.definitions import Release, ReleaseState
from services.registry.evidence import ArmEvidence, StepEvidence
from services.registry.quality.measures import BINS, ScoreCounts
from services.registry.rollout import Advance, Promote, RollBack, decide
from tests.bench.release.worlds import Behaviour, World

# 10 of them at the candidate in the step of 5 %.
REQUESTS_A_SECOND = 200
LABEL_DELAY_S = 10.0
# One second in twenty everything fails ten times as often, whichever version answers.
TROUBLED, TROUBLE = 0.05, 10.0
LONGEST_S = 1000

_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rollout:
    """How one ended, after how many requests that the candidate got, and by which guard it was taken back."""

    world: str
    taken_back: bool
    requests: int
    looks: int
    guard: str = ""


class _Arm:
    """What one version does in one step; labels come late."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._requests = self._errors = 0
        self._latency: Counter[int] = Counter()
        self._counts = np.zeros(2 * BINS, np.int64)
        self._cells: NDArray[np.intp] = np.empty(0, np.intp)
        self._due: NDArray[np.float64] = np.empty(0)

    def serve(self, rng: Generator, requests: int, second: int, trouble: float) -> None:
        """Answer some requests."""
        failed = self._behaviour.failed(rng, requests, trouble)
        self._requests += requests
        self._errors += failed
        self._latency.update(self._behaviour.time_bins(rng, requests - failed).tolist())
        labels, bins = self._behaviour.outcomes(rng, requests - failed)
        self._cells = np.concatenate([self._cells, labels * BINS + bins])
        self._due = np.concatenate([self._due, second + rng.exponential(LABEL_DELAY_S, requests - failed)])

    def evidence(self, second: int) -> ArmEvidence:
        """What is known by now."""
        come = self._due <= second
        if come.any():
            np.add.at(self._counts, self._cells[come], 1)
            self._cells, self._due = self._cells[~come], self._due[~come]
        outcomes = ScoreCounts(self._counts.reshape(2, BINS))
        return ArmEvidence(self._requests, self._errors, self._latency, outcomes)


def roll_out(world: World, seed: int) -> Rollout:
    """Simulate one rollout to its end."""
    rng = np.random.default_rng(seed)
    release = _begun(world)
    arms = [(_Arm(Behaviour()), _Arm(world.candidate))]
    requests = 0
    for second in range(1, LONGEST_S):
        of_candidate = int(rng.binomial(REQUESTS_A_SECOND, release.percent / 100))
        trouble = TROUBLE if rng.random() < TROUBLED else 1.0
        stable, candidate = arms[-1]
        stable.serve(rng, REQUESTS_A_SECOND - of_candidate, second, trouble)
        candidate.serve(rng, of_candidate, second, trouble)
        requests += of_candidate
        seen = [StepEvidence(i, *(arm.evidence(second) for arm in step)) for i, step in enumerate(arms)]
        now = _START + timedelta(seconds=second)
        match decide(release, seen, now):
            case RollBack(reason):
                return Rollout(world.name, True, requests, second, reason.split()[0])
            case Promote():
                return Rollout(world.name, False, requests, second)
            case Advance(step):
                release = replace(release, step=step, step_time=now)
                arms.append((_Arm(Behaviour()), _Arm(world.candidate)))
    raise AssertionError(f"{world.name}, seed {seed}: no end after {LONGEST_S} s")


def _begun(world: World) -> Release:
    return Release(
        endpoint="simulated",
        id=1,
        stable="1.0.0",
        candidate="1.1.0",
        plan=world.plan,
        state=ReleaseState.RUNNING,
        step=0,
        start_time=_START,
        step_time=_START,
        state_time=_START,
    )
