"""Asks the gates of versions inside a transaction, where nothing can be waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.registry.catalog import Catalog
from services.registry.definitions import Model, Version
from services.registry.gates import Gate, failed, gates_of
from services.registry.graphs import node_versions
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
        self._readiness = readiness
        self._stored = stored

    def gates(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """Every gate; UploadsUnseen if it depends on what nobody has looked for."""
        needed = [version, *(member for _, _, member in node_versions(version, catalog.models))]
        unseen = [digest for each in needed for digest in uploads_of(each) if digest not in self._stored]
        if unseen:
            raise UploadsUnseen(unseen)
        there = {digest: size for digest, size in self._stored.items() if size is not None}
        return gates_of(catalog, model, version, self._readiness, there)

    def failed(self, catalog: Catalog, model: Model, version: Version) -> tuple[Gate, ...]:
        """The gates that the version has not passed."""
        return failed(self.gates(catalog, model, version))

    def why_not_ready(self, catalog: Catalog, model: Model, version: Version) -> str:
        """Empty if live processes have the version READY, or each that a composed one is made of; else why not."""
        made_of = [(its_model, member) for _, its_model, member in node_versions(version, catalog.models)]
        reasons = (
            self._readiness.why_not_ready(each.name, member)
            for each, member in (made_of if version.graph else [(model, version)])
        )
        return "; ".join(dict.fromkeys(filter(None, reasons)))
