"""Starts the processes of a topology, announces them when all are ready, keeps them up, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from services.cli.errors import Failure
from services.cli.supervision.child import Backoff, Child
from services.cli.supervision.topology import Topology

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_PATIENCE_S = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Limits:
    """How long a tier may take to get ready, how long a process may take to stop, and how fast one is started again."""

    ready_s: float = 60.0
    # Longer than a service gives itself: to be left by its callers, and to answer them.
    stop_s: float = 18.0
    backoff: Backoff = field(default_factory=Backoff)


class Supervisor:
    """Runs a topology until a signal.

    `announce` gets the readiness line when all is ready, and again whenever a process takes the place of a dead one.
    `started` is called once, when every process has been started.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        announce: Callable[[dict[str, object]], None],
        started: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        self._topology, self._announce, self._started = topology, announce, started
        self._limits = limits or Limits()
        self._children = {
            name: Child(program, self._announce_all, self._limits.backoff)
            for name, program in topology.programs.items()
        }
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until a signal. Failure if a process ends before it is ready or takes too long; the others stop then."""
        with self._signals():
            stopping, serving = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._serve())
            try:
                await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
            finally:
                for task in (stopping, serving):
                    task.cancel()
                await asyncio.gather(stopping, serving, return_exceptions=True)
                await self._stop_all()

    async def _serve(self) -> None:
        """Start all and keep them up; returns only by cancellation."""
        try:
            async with asyncio.TaskGroup() as keepers:
                for tier in self._topology.start_tiers:
                    children = [self._children[name] for name in tier]
                    for child in children:
                        await child.start()
                        keepers.create_task(child.keep())
                    if tier is self._topology.start_tiers[-1]:
                        self._started()
                    await self._until_ready([child for child in children if not child.program.optional])
                self._announce_all()
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _until_ready(self, children: Sequence[Child]) -> None:
        started, shown = time.monotonic(), ""
        while waiting := await _not_ready(children):
            waited_s = time.monotonic() - started
            if waited_s > self._limits.ready_s:
                raise Failure(f"not ready after {self._limits.ready_s:g} s: {waiting}")
            if waiting != shown and waited_s > _PATIENCE_S:
                logger.info("waiting for %s", waiting)
                shown = waiting
            await asyncio.sleep(_POLL_S)

    async def _stop_all(self) -> None:
        for tier in self._topology.stop_tiers:
            await asyncio.gather(*(self._children[name].stop(self._limits.stop_s) for name in tier))

    def _announce_all(self) -> None:
        pids: dict[str, list[int]] = {}
        for child in self._children.values():
            for role in child.program.roles:
                pids.setdefault(role, []).extend([] if child.pid is None else [child.pid])
        self._announce({"ready": True, **self._topology.addresses, "pids": pids})

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            return
        # The second signal: whoever sends it does not want to wait.
        for child in self._children.values():
            child.kill()
        os._exit(1)


async def _not_ready(children: Sequence[Child]) -> str:
    """Return the processes that are not ready, each with the reason; empty when all are."""
    waiting = [child for child in children if not child.was_ready]
    reasons = await asyncio.gather(*(asyncio.to_thread(child.program.probe) for child in waiting))
    for child, reason in zip(waiting, reasons, strict=True):
        child.was_ready = not reason
    return "; ".join(
        f"{child.program.name}: {reason}" for child, reason in zip(waiting, reasons, strict=True) if reason
    )
