"""Asks the gates of versions inside a transaction, where nothing can be waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.catalog import Catalog
from services.registry.definitions import Model, Version
from services.registry.gates import Gate, failed, gates_of
from services.registry.readiness import Readiness
from services.registry.versions import uploads_of


class UploadsUnseen(Exception):
    """The gates depend on uploads that nobody has looked for: do so, then ask again."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(*digests)
        self.digests = digests


class Gatekeeper:
    """The gates by `readiness` and by `stored`: lengths of uploads by SHA-256 (hex), None where there is none."""

    def __init__(self, readiness: Readiness, stored: Mapping[str, int | None]) -> None:
        self.readiness = readiness
        self._stored = stored

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """Every gate; UploadsUnseen if it depends on what nobody has looked for."""
        unseen = [digest for digest in uploads_of(version) if digest not in self._stored]
        if unseen:
            raise UploadsUnseen(unseen)
        there = {digest: size for digest, size in self._stored.items() if size is not None}
        return gates_of(catalog, model, version, self.readiness, there)

    def failed(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The gates that the version has not passed."""
        return failed(self.gates(catalog, model, version))
