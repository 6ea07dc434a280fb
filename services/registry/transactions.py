"""Changes whose decision asks the gates of versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from services.registry.artifacts import Artifacts
from services.registry.catalog import Catalog
from services.registry.changes import Change
from services.registry.gatekeeper import Gatekeeper, UploadsUnseen
from services.registry.ledger import Author, Ledger
from services.registry.readiness import Readiness

T = TypeVar("T")

GatedDecide = Callable[[Catalog, Gatekeeper], tuple[Change | None, T]]
"""As the ledger's Decide, with the gates of the moment."""


class Transactions:
    """Writes to `ledger` what is decided with the gates at hand, by what is uploaded and what is loaded."""

    def __init__(self, ledger: Ledger, artifacts: Artifacts, readiness: Readiness) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._readiness = readiness

    async def write(
        self, decide: GatedDecide[T], author: Author, *, expected_revision: int | None = None
    ) -> tuple[int, T]:
        """As Ledger.write. A decision that depends on uploads is taken anew once they have been looked for."""
        stored: dict[str, int | None] = {}
        while True:
            gatekeeper = Gatekeeper(self._readiness, stored)
            try:
                return await self._ledger.write(
                    lambda catalog, gates=gatekeeper: decide(catalog, gates),  # type: ignore[misc]
                    author,
                    expected_revision=expected_revision,
                )
            except UploadsUnseen as unseen:
                stored |= dict.fromkeys(unseen.digests) | await self._artifacts.sizes(unseen.digests)
