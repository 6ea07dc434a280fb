"""The evidence of a release: what gateways have counted, and what came true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from services.registry.definitions import Release
from services.registry.evidence import ArmEvidence, StepEvidence
from services.registry.quality.measures import Outcomes as OutcomeCounts
from services.registry.totals import ArmTotals

ByArm = tuple[int, str]
"""Index of a step, and a version."""


class Traffic(Protocol):
    """What gateways have counted."""

    async def steps(self, endpoint: str, release_id: int) -> Mapping[ByArm, ArmTotals]:
        """Totals by step and version."""


class Outcomes(Protocol):
    """What came true."""

    async def step_counts(self, endpoint: str, release_id: int) -> Mapping[ByArm, OutcomeCounts]:
        """Outcomes by step and version."""


class GatheredEvidence:
    """Evidence out of both."""

    def __init__(self, traffic: Traffic, outcomes: Outcomes) -> None:
        self._traffic = traffic
        self._outcomes = outcomes

    async def of(self, release: Release) -> tuple[StepEvidence, ...]:
        """The evidence of each step so far, in order; promotion itself has none."""
        totals = await self._traffic.steps(release.endpoint, release.id)
        counts = await self._outcomes.step_counts(release.endpoint, release.id)

        def arm(step: int, version: str) -> ArmEvidence:
            found = totals.get((step, version)) or ArmTotals(release.endpoint, release.id, step, version)
            latency = dict(zip(found.latency.bins, found.latency.counts, strict=True))
            return ArmEvidence(found.requests, found.errors, latency, counts.get((step, version)))

        last = min(release.step, len(release.plan.steps) - 2)
        return tuple(
            StepEvidence(step, arm(step, release.stable), arm(step, release.candidate)) for step in range(last + 1)
        )
