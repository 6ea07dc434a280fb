"""Registrations and deletions of artifacts that come at the same time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from obstore.store import LocalStore

from services.mesh.objects import Objects
from services.registry.artifacts import Artifacts
from services.registry.changes import Event, ResourcesApplied
from services.registry.convert import decode_golden
from services.registry.deleting import Upload
from services.registry.errors import InUse, UnknownArtifact
from services.registry.golden import GoldenSets
from services.registry.ledger import Author, Ledger
from services.registry.readiness import Readiness
from services.registry.registry import Registry
from services.registry.stores.memory import MemoryEventStore
from tests.support.definitions import CONTENT, SHA256, model, version, view
from tests.support.registry import stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTHOR = Author("test")
UPLOAD = Upload(SHA256)


class Gate:
    """Where work waits, once it is shut, until it is opened again."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def shut(self) -> None:
        """Let work wait from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let it go on."""
        self._open.set()

    async def passed(self) -> None:
        """Wait here while it is shut."""
        if not self._open.is_set():
            self.reached.set()
        await self._open.wait()


class SlowLog(MemoryEventStore):
    """A log whose writes can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    async def append(self, expected_revision: int, events: Sequence[Event]) -> None:
        """Write when the gate is open."""
        await self.gate.passed()
        await super().append(expected_revision, events)


class SlowObjects(Objects):
    """Object storage whose deletions can be held."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.gate = Gate()

    async def delete(self, path: str) -> None:
        """Delete when the gate is open."""
        await self.gate.passed()
        await super().delete(path)


class Stage:
    """A registry with one model, and an artifact that no version needs."""

    def __init__(self, directory: Path) -> None:
        self.log = SlowLog()
        self.objects = SlowObjects(LocalStore(directory))
        ledger = Ledger(self.log, now=lambda: NOW, admit=lambda _: None, max_event_bytes=1_000_000)
        artifacts = Artifacts(self.objects, 1_000)
        readiness = Readiness(lambda: 0.0, lambda: NOW)
        self.registry = Registry(ledger, artifacts, GoldenSets(artifacts, decode_golden), readiness, lambda: NOW)

    async def set(self) -> None:
        """Define the model and upload the artifact."""
        given = ResourcesApplied((view(),), (model(),))
        await self.registry.ledger.write(lambda _: (given, None), AUTHOR)
        await self.registry.artifacts.upload(SHA256, len(CONTENT), stream([CONTENT]))

    def register(self) -> asyncio.Task[object]:
        """Begin to register a version that needs the artifact."""
        return asyncio.ensure_future(self.registry.register("churn", version(), AUTHOR, dry_run=False))

    def delete(self) -> asyncio.Task[int]:
        """Begin to delete the artifact."""
        return asyncio.ensure_future(self.registry.delete(UPLOAD, AUTHOR))

    async def holds(self) -> tuple[bool, bool]:
        """Whether the version is registered, and whether its artifact is there."""
        registered = bool(self.registry.ledger.newest.value.catalog.models["churn"].versions)
        return registered, bool(await self.registry.artifacts.sizes([SHA256]))


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    """Nothing is held."""
    assert hashlib.sha256(CONTENT).hexdigest() == SHA256
    made = Stage(tmp_path)
    await made.set()
    return made


async def test_a_registration_waits_for_a_deletion_under_way(stage: Stage) -> None:
    """It finds that its artifact is gone, and is refused."""
    stage.objects.gate.shut()
    deleting = stage.delete()
    await stage.objects.gate.reached.wait()
    registering = stage.register()
    await asyncio.sleep(0)
    stage.objects.gate.open()
    await deleting
    with pytest.raises(UnknownArtifact):
        await registering
    assert (False, False) == await stage.holds()


async def test_a_deletion_waits_for_a_registration_under_way(stage: Stage) -> None:
    """It finds that a version needs the artifact, and is refused."""
    stage.log.gate.shut()
    registering = stage.register()
    await stage.log.gate.reached.wait()
    deleting = stage.delete()
    await asyncio.sleep(0)
    stage.log.gate.open()
    await registering
    with pytest.raises(InUse):
        await deleting
    assert (True, True) == await stage.holds()


async def test_a_registration_whose_caller_has_gone_keeps_its_artifact(stage: Stage) -> None:
    """The write goes on without the caller, and the deletion stands in the row behind it."""
    stage.log.gate.shut()
    registering = stage.register()
    await stage.log.gate.reached.wait()
    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    deleting = stage.delete()
    await asyncio.sleep(0)
    stage.log.gate.open()
    with pytest.raises(InUse):
        await deleting
    assert (True, True) == await stage.holds()


async def test_a_deletion_whose_caller_has_gone_is_waited_for(stage: Stage) -> None:
    """Object storage may still delete, so no registration may look before it has."""
    stage.objects.gate.shut()
    deleting = stage.delete()
    await stage.objects.gate.reached.wait()
    deleting.cancel()
    await asyncio.gather(deleting, return_exceptions=True)
    registering = stage.register()
    await asyncio.sleep(0)
    stage.objects.gate.open()
    with pytest.raises(UnknownArtifact):
        await registering
    assert (False, False) == await stage.holds()
