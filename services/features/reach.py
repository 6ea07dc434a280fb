"""Which parts of the store answer: a part that has failed some reads is not asked until a probe in the background is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.features.stores import OnlineStore
from services.mesh.errors import StoreUnavailable
from services.mesh.resilience.breaker import Breaker
from services.mesh.resilience.recovery import Recovery
from services.mesh.telemetry import names

logger = logging.getLogger(__name__)
# A read that hangs takes nearly all the time of its callers.
LEAST_FAILURES = 3


class Reach:
    """The circuit breakers of a store's parts. `away` are those that are not to be asked."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._parts: dict[str, _Part] = {}
        self.away: set[str] = set()

    def answered(self, keys: Sequence[bytes]) -> None:
        """Note a read that the store has answered."""
        for name in {self._store.part_of(key) for key in keys} if self._parts else ():
            if name in self._parts:
                self._parts[name].succeeded()

    def failed(self, keys: Sequence[bytes], cause: str) -> None:
        """Note a read that the store has not answered, though it had ample time; which part it was, the probes find out."""
        for name, key in {self._store.part_of(key): key for key in keys}.items():
            part = self._parts.get(name)
            if part is None:
                part = self._parts[name] = _Part(name, self._store.probe, self._closed)
            part.key = key
            if part.failed():
                self._opened(part, cause)

    async def stop(self) -> None:
        """Probe no more."""
        await asyncio.gather(*(part.recovery.stop() for part in self._parts.values()))

    def _opened(self, part: _Part, cause: str) -> None:
        self.away.add(part.name)
        names.BREAKER_OPEN.labels("store", part.name).set(1)
        names.BREAKER_OPENED.labels("store", part.name).inc()
        logger.warning("the store does not answer; memory and defaults do", extra={"part": part.name, "cause": cause})
        part.recovery.start()

    def _closed(self, part: _Part) -> None:
        self.away.discard(part.name)
        names.BREAKER_OPEN.labels("store", part.name).set(0)
        logger.info("the store answers again", extra={"part": part.name})


class _Part(Breaker):
    """The breaker of one part, probed by reading `key`, which it holds."""

    def __init__(self, name: str, probe: Callable[[bytes], Awaitable[None]], on_close: Callable[[_Part], None]) -> None:
        super().__init__(least=LEAST_FAILURES)
        self.name = name
        self.key = b""
        self.recovery = Recovery(self, self._answers)
        self._probe = probe
        self._on_close = on_close

    async def _answers(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._probe(self.key)
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Let reads go there again."""
        super().close()
        self._on_close(self)
