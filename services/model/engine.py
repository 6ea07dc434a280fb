"""Keeps loaded what the snapshot names, and finds the version that should answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator

from tenacity.wait import wait_base

from services.mesh.errors import MeshError, NotReady
from services.model.errors import UnknownModel, UnknownVersion, VersionNotLoaded
from services.model.loader import Loader
from services.model.serving import Serving
from services.model.servings import Servings
from services.model.slot import Slot
from services.model.statuses import State, StatusBoard
from services.model.versions import Catalog, Placement, Version

# A version that answers by its fallback keeps a process from being ready for so many seconds at most: who waits for the GPU
# that long is better served by the CPU.
_ALL_PATIENCE_S = 20.0

NEWEST = ""
"""The version that stands for the newest one that answers."""


class Engine:
    """Brings what is loaded in line with what is defined; a version that fails touches no other."""

    def __init__(self, loader: Loader, retry: wait_base) -> None:
        self.board = StatusBoard()
        self._loader = loader
        self._retry = retry
        self._catalog: Catalog | None = None
        self._awaited: set[tuple[str, str, str]] = set()
        self._served_at = math.inf
        self._slots: dict[tuple[str, str, str], Slot] = {}
        self._leaving: dict[Slot, asyncio.Task[None]] = {}
        self._servings = Servings(loader.limits, loader.runtimes)
        self._answering: dict[tuple[str, str], Serving] = {}

    def use(self, catalog: Catalog) -> None:
        """Load and unload from now on to hold exactly these versions."""
        first, self._catalog = self._catalog is None, catalog
        wanted = {placement.key: placement for placement in self._placements(catalog)}
        for key in self._slots.keys() - wanted.keys():
            self._unload(self._slots.pop(key))
        for key, placement in wanted.items():
            if key in self._slots:
                self._slots[key].want(placement)
            else:
                self._slots[key] = Slot(placement, self._loader, self._retry, self._changed, self._servings.released)
        if first:
            self._awaited = set(self._slots)
        self._changed()

    def find(self, model: str, version: str) -> Serving:
        """Find what answers for a version, or for the newest one that can.

        Raises UnknownModel, UnknownVersion, VersionNotLoaded, or NotReady before the first snapshot.
        """
        serving = self._answering.get((model, version))
        if serving is None:
            raise self._absence(model, version)
        return serving

    def servings(self) -> list[Serving]:
        """Every version that answers; other threads may ask too."""
        return self._servings.all()

    def versions_answering(self, model: str) -> list[str]:
        """Versions of a model that answer, oldest first."""
        versions = (self._answering[key].version for key in self._answering if key[0] == model and key[1] != NEWEST)
        return [version.version for version in sorted(versions, key=_precedence)]

    def not_ready(self) -> str:
        """Say why calls should go elsewhere; "" once each version of the first snapshot is loaded or has failed.

        On every runtime; but when each answers on one, the others are waited for only so long.
        """
        if self._catalog is None:
            return "no snapshot yet"
        if self._awaited and time.monotonic() < self._served_at + _ALL_PATIENCE_S:
            return "loading " + ", ".join(
                f"{model}@{version} on {runtime}" for model, version, runtime in self._awaited
            )
        return ""

    async def close(self) -> None:
        """Unload everything, after the calls under way."""
        while self._slots:
            self._unload(self._slots.popitem()[1])
        await asyncio.gather(*self._leaving.values())

    def _placements(self, catalog: Catalog) -> Iterator[Placement]:
        """Every version on every runtime that is here; on its first choice, to fail there, if none is."""
        for version in _all(catalog):
            here = [artifact for artifact in version.artifacts if artifact.runtime in self._loader.runtimes]
            yield from (Placement(version, artifact) for artifact in here or version.artifacts[:1])

    def _unload(self, slot: Slot) -> None:
        self._leaving[slot] = asyncio.create_task(self._leave(slot))

    async def _leave(self, slot: Slot) -> None:
        await slot.unload()
        del self._leaving[slot]
        self._changed()
        if self._catalog is not None:
            await self._loader.retain({digest for version in _all(self._catalog) for digest in version.uploads})

    def _changed(self) -> None:
        """Work out anew who answers for what; rare, so that `find` is one look."""
        self._servings.settle(slot.station for slot in self._slots.values() if slot.station)
        self._answering = {}
        for version in sorted(_all(self._catalog or {}), key=_precedence):
            serving = self._servings.find(version)
            if serving:
                self._answering[version.model, version.version] = serving
                self._answering[version.model, NEWEST] = serving
        loading = {key for key, slot in self._slots.items() if slot.status.state is State.LOADING}
        self._awaited &= loading
        if self._served_at == math.inf and all(
            (model, version) in self._answering for model, version, _ in self._awaited
        ):
            self._served_at = time.monotonic()
        leaving = {slot.placement.key: slot for slot in self._leaving}
        self.board.show([slot.status for slot in (leaving | self._slots).values()])

    def _absence(self, model: str, version: str) -> MeshError:
        if self._catalog is None:
            return NotReady("no snapshot of the definitions has arrived yet")
        if model not in self._catalog:
            return UnknownModel(f"no model {model!r}", field="model_name")
        versions = [known.version for known in self._catalog[model]]
        if version == NEWEST:
            return VersionNotLoaded(f"no version of {model!r} is ready here", field="model_version")
        if version not in versions:
            return UnknownVersion(f"{model!r} has no version {version!r}", field="model_version")
        return VersionNotLoaded(f"{model}@{version} is not ready here", field="model_version")


def _all(catalog: Catalog) -> Iterable[Version]:
    return (version for versions in catalog.values() for version in versions)


def _precedence(version: Version) -> tuple[int, ...]:
    return version.precedence
