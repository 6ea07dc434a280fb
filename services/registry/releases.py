"""Releases for their callers: each act is planned against the present definitions, then written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.registry.catalog import Catalog
from services.registry.changes import Change, ReleaseChanged
from services.registry.definitions import Release, ReleasePlan
from services.registry.errors import NoRelease, UnknownEndpoint
from services.registry.evidence import StepEvidence
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import Gate, unforced
from services.registry.guards import GuardVerdict
from services.registry.ledger import Author, Ledger
from services.registry.lookup import find_version
from services.registry.releasing import (
    Candidacy,
    plan_hold,
    plan_promotion,
    plan_resumption,
    plan_rollback,
    plan_start,
)
from services.registry.rollout import Advance, Promote, Wait, decide, verdicts
from services.registry.transactions import Transactions
from services.registry.vetting import check_forced

ReleasePlanner = Callable[[Catalog, Gatekeeper], Release]


class Evidence(Protocol):
    """What the versions of releases have shown."""

    async def of(self, release: Release) -> tuple[StepEvidence, ...]:
        """The evidence of each step so far, in order."""


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """A release as of a revision, with its evidence and what its guards make of it."""

    release: Release
    steps: tuple[StepEvidence, ...]
    verdicts: tuple[GuardVerdict, ...]
    waiting_for: tuple[str, ...]
    revision: int


class Releases:
    """The releases of all endpoints. Each act answers the revision that it leaves and the release; `now` is in UTC."""

    def __init__(
        self, ledger: Ledger, transactions: Transactions, evidence: Evidence, now: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._transactions = transactions
        self._evidence = evidence
        self._now = now

    async def start(
        self,
        candidacy: Candidacy,
        plan: ReleasePlan,
        author: Author,
        *,
        dry_run: bool,
        expected_revision: int | None,
    ) -> tuple[int, Release]:
        """Start a release at its first step."""
        check_forced(candidacy.force, author)

        def planned(catalog: Catalog, gatekeeper: Gatekeeper) -> Release:
            return plan_start(catalog, candidacy, plan, gatekeeper, self._now())

        return await self._write(planned, author, expected_revision, dry_run=dry_run)

    async def promote(self, candidacy: Candidacy, author: Author, expected_revision: int | None) -> tuple[int, Release]:
        """Let a version answer everything at once."""
        check_forced(candidacy.force, author)

        def planned(catalog: Catalog, gatekeeper: Gatekeeper) -> Release:
            return plan_promotion(catalog, candidacy, gatekeeper, self._now())

        return await self._write(planned, author, expected_revision)

    async def hold(self, endpoint: str, author: Author, expected_revision: int | None) -> tuple[int, Release]:
        """Keep a release at its step."""
        return await self._write(
            lambda catalog, _: plan_hold(catalog, endpoint, author.reason, self._now()), author, expected_revision
        )

    async def resume(self, endpoint: str, author: Author, expected_revision: int | None) -> tuple[int, Release]:
        """Let a held release go on."""
        return await self._write(
            lambda catalog, _: plan_resumption(catalog, endpoint, author.reason, self._now()), author, expected_revision
        )

    async def roll_back(self, endpoint: str, author: Author, expected_revision: int | None) -> tuple[int, Release]:
        """Let the version before answer everything again."""
        return await self._write(
            lambda catalog, _: plan_rollback(catalog, endpoint, author.reason, self._now()), author, expected_revision
        )

    async def report(self, endpoint: str) -> ReleaseReport:
        """The last release of an endpoint; raises UnknownEndpoint or NoRelease."""
        self.check_endpoint(endpoint)
        newest = self._ledger.newest.value
        release = newest.catalog.releases.get(endpoint)
        if release is None:
            raise NoRelease(f"{endpoint} has had no release", field="endpoint", endpoint=endpoint)
        steps = await self._evidence.of(release)
        decision = decide(release, steps, self._now())
        waiting_for = decision.waiting_for if isinstance(decision, Wait) else ()
        if isinstance(decision, Advance | Promote):
            gates = await self.gates(newest.catalog.endpoints[endpoint].model, release.candidate)
            waiting_for = tuple(f"gate {gate.name}: {gate.text}" for gate in unforced(gates, release))
        return ReleaseReport(release, steps, verdicts(release, steps), waiting_for, newest.number)

    def check_endpoint(self, name: str) -> None:
        """Raise UnknownEndpoint if there is no such endpoint."""
        if name not in self._ledger.newest.value.catalog.endpoints:
            raise UnknownEndpoint(f"there is no endpoint {name!r}", field="endpoint", endpoint=name)

    async def gates(self, model: str, version: str) -> tuple[Gate, ...]:
        """Every gate of a version; raises UnknownModel or UnknownVersion."""

        def asked(catalog: Catalog, gatekeeper: Gatekeeper) -> tuple[None, tuple[Gate, ...]]:
            found = find_version(catalog.models, model, version)
            return None, gatekeeper.gates(catalog, catalog.models[model], found)

        _, gates = await self._transactions.write(asked, Author("nobody"))
        return gates

    async def _write(
        self, planner: ReleasePlanner, author: Author, expected_revision: int | None, *, dry_run: bool = False
    ) -> tuple[int, Release]:
        def decided(catalog: Catalog, gatekeeper: Gatekeeper) -> tuple[Change | None, Release]:
            release = planner(catalog, gatekeeper)
            unchanged = dry_run or catalog.releases.get(release.endpoint) == release
            return (None if unchanged else ReleaseChanged(release)), release

        return await self._transactions.write(decided, author, expected_revision=expected_revision)
