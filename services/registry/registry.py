"""What the registry does for its callers: each change is planned against the present definitions, then written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from services.registry.applying import Application, plan_apply
from services.registry.artifacts import Artifacts
from services.registry.catalog import Catalog
from services.registry.changes import Change, ResourceDeleted
from services.registry.definitions import Resource, Version
from services.registry.deleting import plan_deletion
from services.registry.ledger import Author, Ledger
from services.registry.lookup import find_version
from services.registry.readiness import Readiness
from services.registry.registering import Registration, plan_registration


class Registry:
    """The definitions and their changes. Each method answers the revision that it leaves; `now` is the time in UTC."""

    def __init__(self, ledger: Ledger, artifacts: Artifacts, readiness: Readiness, now: Callable[[], datetime]) -> None:
        self.ledger = ledger
        self.artifacts = artifacts
        self.readiness = readiness
        self._now = now

    async def apply(
        self,
        resources: Sequence[Resource | None],
        author: Author,
        *,
        dry_run: bool,
        allow_unready: bool,
        expected_revision: int | None,
    ) -> tuple[int, Application]:
        """Create or update resources, all or none."""

        def decide(catalog: Catalog) -> tuple[Change | None, Application]:
            why_not_ready = _always_ready if allow_unready else self.readiness.why_not_ready
            planned = plan_apply(catalog, resources, why_not_ready)
            return (None if dry_run else planned.event), planned

        return await self.ledger.write(decide, author, expected_revision=expected_revision)

    def version(self, model: str, number: str) -> Version:
        """A version with its training profile, which no snapshot has; raises UnknownModel or UnknownVersion."""
        return find_version(self.ledger.newest.value.catalog.models, model, number, path="name")

    async def register(
        self, model: str, version: Version, author: Author, *, dry_run: bool
    ) -> tuple[int, Registration]:
        """Add a version whose artifacts are there."""
        sizes = await self.artifacts.sizes(artifact.sha256 for artifact in version.artifacts)

        def decide(catalog: Catalog) -> tuple[Change | None, Registration]:
            planned = plan_registration(catalog, model, version, sizes, self._now())
            return (None if dry_run else planned.event), planned

        return await self.ledger.write(decide, author)

    async def delete(self, target: ResourceDeleted | None, author: Author) -> int:
        """Delete what nothing else names."""

        def decide(catalog: Catalog) -> tuple[Change | None, None]:
            return plan_deletion(catalog, target), None

        revision, _ = await self.ledger.write(decide, author)
        return revision


def _always_ready(_model: str, _version: Version) -> str:
    return ""
