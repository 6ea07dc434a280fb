"""Which loaded runtimes answer together for a version."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeAlias

from services.model.schedule import Limits
from services.model.serving import Serving
from services.model.station import Station
from services.model.versions import Version

_Content: TypeAlias = tuple[str, str, str]
"""Model, version and digest: while new content of a version is loaded, the old one answers."""


class Servings:
    """One Serving for each content of a version that is loaded anywhere."""

    def __init__(self, limits: Limits, runtimes: Collection[str]) -> None:
        self._limits = limits
        self._runtimes = runtimes
        self._current: dict[_Content, Serving] = {}
        self._serving_of: dict[Station, Serving] = {}

    def settle(self, stations: Iterable[Station]) -> None:
        """Let each version be computed where it is loaded, and nowhere else."""
        loaded: dict[_Content, list[Station]] = {}
        for station in stations:
            loaded.setdefault(_content(station.placement.version), []).append(station)
        for content in self._current.keys() - loaded.keys():
            # It keeps its runtimes for the calls that it has.
            del self._current[content]
        for content, of_version in loaded.items():
            version = of_version[0].placement.version
            serving = self._current.get(content)
            if serving is None:
                serving = self._current[content] = Serving(version, self._limits)
            self._serving_of.update(dict.fromkeys(of_version, serving))
            choices = [artifact.runtime for artifact in version.artifacts if artifact.runtime in self._runtimes]
            serving.use(sorted(of_version, key=lambda station: choices.index(station.runtime)), choices[0])

    def find(self, version: Version) -> Serving | None:
        """Return what answers for a version: its own content, or an older one that is still loaded."""
        serving = self._current.get(_content(version))
        if serving is not None:
            return serving
        same = (content for content in self._current if content[:2] == (version.model, version.version))
        return next((self._current[content] for content in same), None)

    def all(self) -> list[Serving]:
        """Every version that is loaded; other threads may ask too."""
        return list(self._current.values())

    async def released(self, station: Station) -> None:
        """Wait until no call can come to a station any more that no version is loaded on."""
        await self._serving_of.pop(station).idle()


def _content(version: Version) -> _Content:
    return version.model, version.version, version.digest
