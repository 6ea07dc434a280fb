"""What becomes of decisions that cannot be carried out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.mesh.errors import StoreUnavailable
from services.registry.catalog import Catalog
from services.registry.changes import Change, ReleaseChanged, ResourcesApplied, VersionRegistered
from services.registry.controller import Controller
from services.registry.definitions import Endpoint, Model, Release, ReleasePlan, ReleaseState, Route, Version
from services.registry.evidence import ArmEvidence, StepEvidence
from services.registry.gates import Gate
from services.registry.ledger import Author, Ledger
from services.registry.releases import Releases
from services.registry.releasing import Candidacy, plan_start
from services.registry.stores.memory import MemoryEventStore
from services.registry.stores.traffic import SqliteTrafficStore
from services.registry.totals import ShadowTotals
from services.registry.traffic import SHADOWS_KEPT, Traffic
from services.registry.transactions import GatedDecide, T, Transactions
from tests.support.catalogs import NOW, a_catalog
from tests.support.definitions import endpoint
from tests.support.gates import OpenGates

LATER = NOW + timedelta(minutes=5)
GOOD, BAD = ArmEvidence(2_000), ArmEvidence(2_000, 1_000)
TO_1_0_0 = Route(version="1.0.0")
ONE_STEP = ReleasePlan(steps=(50.0, 100.0))


class Showing:
    """Evidence of the candidates by endpoint; an error is raised."""

    def __init__(self, candidates: dict[str, ArmEvidence | Exception]) -> None:
        self._candidates = candidates

    async def of(self, release: Release) -> tuple[StepEvidence, ...]:
        """The same in every step so far."""
        shown = self._candidates[release.endpoint]
        if isinstance(shown, Exception):
            raise shown
        return tuple(StepEvidence(step, GOOD, shown) for step in range(release.step + 1))


class ReadyGate(OpenGates):
    """One gate, which is passed unless it is shut."""

    shut = False

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The gate `ready`."""
        return (Gate("ready", not self.shut, "no model process has it", "wait for one"),)


class GatedLedger(Transactions):
    """Asks the one gate, and no object storage."""

    def __init__(self, ledger: Ledger, gate: ReadyGate) -> None:
        self._ledger = ledger
        self._gate = gate

    async def write(
        self, decide: GatedDecide[T], author: Author, *, expected_revision: int | None = None
    ) -> tuple[int, T]:
        """As Ledger.write."""
        return await self._ledger.write(
            lambda catalog: decide(catalog, self._gate), author, expected_revision=expected_revision
        )


class World:
    """Releases and their controller, some minutes after NOW."""

    def __init__(self, ledger: Ledger, store: SqliteTrafficStore, evidence: Showing) -> None:
        self.ledger = ledger
        self.gate = ReadyGate()
        self.now = LATER
        self.traffic = Traffic(store, lambda: ledger.newest.value.catalog, lambda: self.now)
        transactions = GatedLedger(ledger, self.gate)
        self.controller = Controller(ledger, transactions, evidence, self.traffic, lambda: self.now, interval_s=60)
        self.releases = Releases(ledger, transactions, evidence, lambda: self.now)

    async def change(self, *changes: Change) -> None:
        """Write the changes."""
        for each in changes:
            await self.ledger.write(lambda _, change=each: (change, None), Author("test"))  # type: ignore[misc]

    async def start(self, name: str) -> None:
        """Start a release of 1.1.0 at NOW."""
        candidacy = Candidacy(name, "1.1.0", "candidate", "")
        catalog = self.ledger.newest.value.catalog
        await self.change(ReleaseChanged(plan_start(catalog, candidacy, ONE_STEP, OpenGates(), NOW)))

    def release(self, name: str) -> Release:
        """The endpoint's last release."""
        return self.ledger.newest.value.catalog.releases[name]


@asynccontextmanager
async def world(
    directory: Path, candidates: dict[str, ArmEvidence | Exception], *endpoints: Endpoint, **aliases: str
) -> AsyncIterator[World]:
    """A registry with both versions, and these endpoints."""
    ledger = Ledger(MemoryEventStore(), now=lambda: NOW, admit=lambda _: None, max_event_bytes=1_000_000)
    async with SqliteTrafficStore.open(directory / "traffic.sqlite3", "log") as store:
        made = World(ledger, store, Showing(candidates))
        catalog = a_catalog()
        model = catalog.models["churn"]
        bare = replace(model, versions=(), released_versions=())
        await made.change(
            ResourcesApplied(feature_views=tuple(catalog.views.values()), models=(bare,)),
            *(VersionRegistered("churn", version) for version in model.versions),
            ResourcesApplied(models=(replace(bare, aliases=aliases),), endpoints=endpoints),
        )
        yield made


async def test_a_release_that_cannot_be_looked_at_keeps_no_other_from_being_taken_back(tmp_path: Path) -> None:
    """Callers of the second endpoint must not wait until somebody has mended what the first one suffers from."""
    candidates: dict[str, ArmEvidence | Exception] = {"first": StoreUnavailable("the disk is full"), "second": BAD}
    endpoints = [endpoint(name, route=TO_1_0_0) for name in candidates]
    async with world(tmp_path, candidates, *endpoints) as made:
        for name in candidates:
            await made.start(name)
        await made.controller.look()
        assert (ReleaseState.RUNNING, ReleaseState.ROLLED_BACK) == (
            made.release("first").state,
            made.release("second").state,
        )


async def test_what_keeps_failing_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And again once it has ended in between, or fails otherwise."""
    candidates: dict[str, ArmEvidence | Exception] = {"first": StoreUnavailable("the disk is full")}
    async with world(tmp_path, candidates, endpoint("first", route=TO_1_0_0)) as made:
        await made.start("first")

        async def told(found: ArmEvidence | Exception) -> int:
            caplog.clear()
            candidates["first"] = found
            await made.controller.look()
            return len([record for record in caplog.records if record.message == "a look at the releases failed"])

        assert [1, 0, 1, 0, 1] == [
            await told(StoreUnavailable("the disk is full")),
            await told(StoreUnavailable("the disk is full")),
            await told(ValueError("another")),
            await told(ArmEvidence()),
            await told(ValueError("another")),
        ]


async def test_a_promotion_that_would_take_others_along_is_held_for_somebody_to_look(tmp_path: Path) -> None:
    """They have come to the alias since the release began."""
    first = endpoint("first", route=Route(alias="champion"))
    async with world(tmp_path, {"first": GOOD}, first, champion="1.0.0") as made:
        await made.start("first")
        await made.change(ResourcesApplied(endpoints=(replace(first, name="second"),)))
        await made.controller.look()
        assert ReleaseState.HELD is made.release("first").state
        assert "also leads second" in made.release("first").reason
        assert made.release("first").reason == (await made.ledger.events(0, 100, 1_000_000))[-1].reason


async def test_a_step_that_is_done_waits_for_gates_and_says_so(tmp_path: Path) -> None:
    """No process may have reported since the registry began; when one has, the release goes on."""
    async with world(tmp_path, {"first": GOOD}, endpoint("first", route=TO_1_0_0)) as made:
        await made.start("first")
        made.gate.shut = True
        await made.controller.look()
        assert ReleaseState.RUNNING is made.release("first").state
        report = await made.releases.report("first")
        assert ("gate ready: no model process has it: wait for one",) == report.waiting_for
        made.gate.shut = False
        assert () == (await made.releases.report("first")).waiting_for
        await made.controller.look()
        assert ReleaseState.PROMOTED is made.release("first").state


async def test_processes_that_have_ended_are_forgotten_though_nobody_changes_anything(tmp_path: Path) -> None:
    """Each leaves the totals of its shadows behind."""
    async with world(tmp_path, {}, endpoint("first", route=TO_1_0_0)) as made:
        await made.traffic.report("gateway-1", 1, (), [ShadowTotals("first", "1.0.0", "1.1.0", rows=5)])
        await made.controller.look()
        assert [5] == [shadow.rows for shadow in await made.traffic.shadows("first")]
        made.now += SHADOWS_KEPT + timedelta(days=1)
        await made.controller.look()
        assert () == await made.traffic.shadows("first")


async def test_metrics_tell_where_releases_are(tmp_path: Path) -> None:
    """Share and time by the state that a release is in now, and nothing of the one that it was in."""
    async with world(tmp_path, {"first": BAD}, endpoint("first", route=TO_1_0_0)) as made:
        await made.start("first")
        await made.controller._follow()

        def told(name: str, state: str) -> float | None:
            labels = {"endpoint": "first", "model_version": "1.1.0", "state": state}
            return REGISTRY.get_sample_value(f"predictmesh_release_{name}", labels)

        assert (50, NOW.timestamp()) == (told("percent", "running"), told("moved_timestamp_seconds", "running"))
        await made.controller.look()
        assert (0, LATER.timestamp()) == (
            told("percent", "rolled_back"),
            told("moved_timestamp_seconds", "rolled_back"),
        )
        assert {None} == {told(name, "running") for name in ("percent", "moved_timestamp_seconds")}
