"""What the registry does for its callers: each change is planned against the present definitions, then written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from services.registry.applying import Application, plan_apply
from services.registry.artifacts import Artifacts
from services.registry.catalog import Catalog
from services.registry.changes import Change, ResourceDeleted
from services.registry.definitions import Resource, Version
from services.registry.deleting import Upload, check_unused, plan_deletion
from services.registry.gatekeeper import Gatekeeper
from services.registry.golden import GoldenSets
from services.registry.ledger import Author, Ledger
from services.registry.lookup import find_version
from services.registry.readiness import Readiness
from services.registry.registering import PATH, Registration, plan_registration
from services.registry.transactions import Transactions
from services.registry.versions import uploads_of
from services.registry.vetting import Waivers, check_forced

logger = logging.getLogger(__name__)


class Registry:
    """The definitions and their changes. Each method answers the revision that it leaves; `now` is the time in UTC."""

    def __init__(
        self,
        ledger: Ledger,
        artifacts: Artifacts,
        golden_sets: GoldenSets,
        readiness: Readiness,
        now: Callable[[], datetime],
    ) -> None:
        self.ledger = ledger
        self.artifacts = artifacts
        self.readiness = readiness
        self._golden_sets = golden_sets
        self._now = now
        # Held from the look at the uploads that a version names until it is registered: none of them goes meanwhile.
        self._uploads = asyncio.Lock()
        self.transactions = Transactions(ledger, artifacts, readiness)

    async def apply(
        self,
        resources: Sequence[Resource | None],
        author: Author,
        *,
        dry_run: bool,
        waivers: Waivers,
        expected_revision: int | None,
    ) -> tuple[int, Application]:
        """Create or update resources, all or none."""
        check_forced(waivers.force, author)

        def decide(catalog: Catalog, gatekeeper: Gatekeeper) -> tuple[Change | None, Application]:
            planned = plan_apply(catalog, resources, gatekeeper, waivers)
            return (None if dry_run else planned.event), planned

        return await self.transactions.write(decide, author, expected_revision=expected_revision)

    def version(self, model: str, number: str) -> Version:
        """A version with its training profile, which no snapshot has; raises UnknownModel or UnknownVersion."""
        return find_version(self.ledger.newest.value.catalog.models, model, number, path="name")

    async def register(
        self, model: str, version: Version, author: Author, *, dry_run: bool
    ) -> tuple[int, Registration]:
        """Add a version whose uploads are there."""
        async with self._uploads:
            sizes = await self.artifacts.sizes(uploads_of(version))
            golden = await self._golden_sets.faults_of(version, sizes, PATH)

            def decide(catalog: Catalog) -> tuple[Change | None, Registration]:
                planned = plan_registration(catalog, model, version, sizes, self._now(), golden)
                return (None if dry_run else planned.event), planned

            return await self.ledger.write(decide, author)

    async def delete(self, target: ResourceDeleted | Upload | None, author: Author) -> int:
        """Delete what nothing else names."""
        if isinstance(target, Upload):
            # To its end even if the caller goes: object storage may delete it after the lock would be free again.
            return await asyncio.shield(asyncio.ensure_future(self._delete_upload(target, author)))

        def decide(catalog: Catalog) -> tuple[Change | None, None]:
            return plan_deletion(catalog, target), None

        revision, _ = await self.ledger.write(decide, author)
        return revision

    async def _delete_upload(self, upload: Upload, author: Author) -> int:
        """It is no definition, so its deletion is in no event but in the process's log."""

        def decide(catalog: Catalog) -> tuple[Change | None, None]:
            check_unused(catalog, upload)
            return None, None

        async with self._uploads:
            # In the ledger's row, behind a registration whose caller has gone and which is still being written.
            revision, _ = await self.ledger.write(decide, author)
            await self.artifacts.delete(upload.sha256)
        logger.info("artifact deleted", extra={"sha256": upload.sha256, "actor": author.actor, "reason": author.reason})
        return revision
