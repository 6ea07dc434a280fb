"""Evidence from gateways: totals of every process, of which the newest count, so that nothing counts twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from services.registry.catalog import Catalog
from services.registry.totals import ArmTotals, ShadowTotals, summed
from services.registry.traffic_rules import check_report

# A process that has been silent for so long has most likely ended; its shadows would be kept for as long as versions are.
SHADOWS_KEPT = timedelta(days=30)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class TrafficStore(Protocol):
    """Totals by process. Failures are StoreUnavailable; what was put survives a kill of this process."""

    async def put(
        self,
        instance_id: str,
        sequence: int,
        time: datetime,
        arms: Sequence[ArmTotals],
        shadows: Sequence[ShadowTotals],
    ) -> None:
        """Keep totals in place of those that the process gave with a smaller sequence; nothing else changes."""

    async def arms(self, endpoint: str, release_id: int) -> list[ArmTotals]:
        """What each process has counted of a release, by step and version."""

    async def shadows(self, endpoint: str) -> list[ShadowTotals]:
        """What each process has compared at an endpoint."""

    async def prune(
        self,
        keeps_release: Callable[[str, int], bool],
        keeps_shadow: Callable[[str, str, str], bool],
        oldest: datetime,
    ) -> None:
        """Delete releases (endpoint, id) and shadows (endpoint, primary, shadow) that are not to be kept.

        Also shadows of processes that have reported none since `oldest`.
        """


class Traffic:
    """What gateways have counted. `catalog` answers the present definitions, `now` the time in UTC."""

    def __init__(self, store: TrafficStore, catalog: Callable[[], Catalog], now: Callable[[], datetime]) -> None:
        self._store = store
        self._catalog = catalog
        self._now = now

    async def report(
        self, instance_id: str, sequence: int, arms: Sequence[ArmTotals], shadows: Sequence[ShadowTotals]
    ) -> None:
        """Take totals of a process in place of those with a smaller sequence; they survive a kill when it returns.

        What is not about an endpoint's last release or its versions is passed over: a gateway may be behind. Raises
        InvalidArgument with the fields of what was counted wrongly; then nothing is taken.
        """
        check_report(instance_id, sequence, arms, shadows)
        catalog = self._catalog()
        wanted = [arm for arm in arms if _counts(catalog, arm)]
        compared = [each for each in shadows if _compares(catalog, each.endpoint, each.primary, each.shadow)]
        if wanted or compared:
            await self._store.put(instance_id, sequence, self._now(), wanted, compared)

    async def steps(self, endpoint: str, release_id: int) -> Mapping[tuple[int, str], ArmTotals]:
        """What each version has done in each step of a release, by step and version: all gateways together."""
        return summed(await self._store.arms(endpoint, release_id), lambda arm: (arm.step, arm.version))

    async def shadows(self, endpoint: str) -> tuple[ShadowTotals, ...]:
        """How shadows compare, one entry a pair of versions, the newest first: all gateways together."""
        pairs = summed(await self._store.shadows(endpoint), lambda each: (each.primary, each.shadow))
        return tuple(sorted(pairs.values(), key=lambda each: each.last_time or _LONG_AGO, reverse=True))

    async def prune(self) -> None:
        """Forget releases that are no endpoint's last, and shadows of endpoints, versions or processes that are gone."""
        catalog = self._catalog()
        await self._store.prune(
            lambda endpoint, release_id: _is_last(catalog, endpoint, release_id),
            lambda endpoint, primary, shadow: _compares(catalog, endpoint, primary, shadow),
            self._now() - SHADOWS_KEPT,
        )


def _is_last(catalog: Catalog, endpoint: str, release_id: int) -> bool:
    release = catalog.releases.get(endpoint)
    return release is not None and release.id == release_id


def _counts(catalog: Catalog, arm: ArmTotals) -> bool:
    release = catalog.releases.get(arm.endpoint)
    return (
        release is not None
        and release.id == arm.release_id
        and arm.version in {release.stable, release.candidate}
        and arm.step < len(release.plan.steps)
    )


def _compares(catalog: Catalog, endpoint: str, primary: str, shadow: str) -> bool:
    found = catalog.endpoints.get(endpoint)
    model = catalog.models.get(found.model) if found else None
    return model is not None and bool(model.find(primary) and model.find(shadow))
