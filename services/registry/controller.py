"""Takes releases from step to step, and back, by what `rollout` decides.

Where a release stands is in the log and nowhere else: whenever the process ends, the next one goes on from there. A
decision is written only if the release is still the one that it was taken of, so no step is taken twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime

from services.mesh.background import background
from services.mesh.errors import MeshError
from services.mesh.telemetry import names
from services.registry.catalog import Catalog
from services.registry.changes import Change, ReleaseChanged
from services.registry.definitions import Release, ReleaseState
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import unforced
from services.registry.ledger import Author, Ledger
from services.registry.releases import Evidence
from services.registry.releasing import check_leading, moved
from services.registry.rollout import Advance, Decision, Hold, Promote, RollBack, Wait, decide
from services.registry.traffic import Traffic
from services.registry.transactions import Transactions

logger = logging.getLogger(__name__)
ACTOR = "rollout"


class Controller:
    """Looks at every release under way each `interval_s` seconds; `now` is the time in UTC."""

    def __init__(
        self,
        ledger: Ledger,
        transactions: Transactions,
        evidence: Evidence,
        traffic: Traffic,
        now: Callable[[], datetime],
        interval_s: float,
    ) -> None:
        self._ledger = ledger
        self._transactions = transactions
        self._evidence = evidence
        self._traffic = traffic
        self._now = now
        self._interval_s = interval_s
        self._failing: dict[str, str] = {}
        self._followed: tuple[int, date] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look for the time of the context."""
        async with background(self._run()):
            yield

    async def look(self) -> None:
        """Look at every release under way once, and see to what goes by them. Raises nothing."""
        for release in list(self._ledger.newest.value.catalog.releases.values()):
            if release.state.under_way:
                await self._attempt(self._look_at(release), release.endpoint)
        await self._attempt(self._follow())

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._interval_s)

    async def _follow(self) -> None:
        """Once for each set of definitions, and daily: show where releases stand, and drop what was counted of what is gone."""
        newest = self._ledger.newest.value
        followed = newest.number, self._now().date()
        if followed != self._followed:
            _show(newest.catalog.releases.values())
            await self._traffic.prune()
            self._followed = followed

    async def _look_at(self, seen: Release) -> None:
        decision = decide(seen, await self._evidence.of(seen), self._now())
        catalog = self._ledger.newest.value.catalog
        if isinstance(decision, Promote) and seen.endpoint in catalog.endpoints:
            decision = _unless_astray(decision, seen, catalog)
        if isinstance(decision, Wait):
            return

        def decided(catalog: Catalog, gatekeeper: Gatekeeper) -> tuple[Change | None, None]:
            if catalog.releases.get(seen.endpoint) != seen or _is_gated(decision, seen, catalog, gatekeeper):
                return None, None
            following = _after(decision, seen, self._now())
            if following.state is ReleaseState.PROMOTED:
                check_leading(catalog, following, "endpoint")
            return ReleaseChanged(following), None

        await self._transactions.write(decided, Author(ACTOR, decision.reason))

    async def _attempt(self, work: Awaitable[None], endpoint: str = "") -> None:
        """Whatever it ends in, the next look is all there is to do, and others must not wait for it."""
        try:
            await work
        except Exception as error:
            # It is the same at each look until somebody mends it, and was told at the first.
            if self._failing.get(endpoint) != str(error):
                logger.exception("a look at the releases failed", extra={"endpoint": endpoint})
            self._failing[endpoint] = str(error)
        else:
            self._failing.pop(endpoint, None)


def _show(releases: Iterable[Release]) -> None:
    """Tell the metrics where releases stand, and since when."""
    names.RELEASE_PERCENT.clear()
    names.RELEASE_MOVED.clear()
    for release in releases:
        labels = (release.endpoint, release.candidate, release.state.lower())
        names.RELEASE_PERCENT.labels(*labels).set(release.percent)
        names.RELEASE_MOVED.labels(*labels).set(release.state_time.timestamp())


def _unless_astray(promotion: Promote, release: Release, catalog: Catalog) -> Promote | Hold:
    """The promotion; or why it has to wait for somebody: it would take others along, or lead elsewhere."""
    try:
        check_leading(catalog, replace(release, state=ReleaseState.PROMOTED), "endpoint")
    except MeshError as error:
        return Hold(error.message)
    return promotion


def _after(decision: Decision, release: Release, now: datetime) -> Release:
    match decision:
        case Advance(step, reason):
            return replace(release, step=step, step_time=now, state_time=now, reason=reason)
        case Promote(reason):
            return moved(release, ReleaseState.PROMOTED, now, reason)
        case Hold(reason):
            return moved(release, ReleaseState.HELD, now, reason)
        case RollBack(reason):
            return moved(release, ReleaseState.ROLLED_BACK, now, reason)
        case Wait():
            return release


def _is_gated(decision: Decision, release: Release, catalog: Catalog, gatekeeper: Gatekeeper) -> bool:
    """Whether more callers would come to a version that has a gate before it now which nobody forced.

    After a restart of the registry that is so until model processes have reported, so it is no reason to give up.
    """
    if not isinstance(decision, Advance | Promote):
        return False
    model = catalog.models[catalog.endpoints[release.endpoint].model]
    version = model.find(release.candidate)
    return version is not None and bool(unforced(gatekeeper.gates(catalog, model, version), release))
