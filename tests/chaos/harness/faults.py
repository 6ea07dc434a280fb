"""Faults as contexts: what is broken at the entry is whole again at the exit."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.chaos.harness.fleet import Fleet
from tests.support.link import CLEAR, Link, Weather
from tests.worlds.parts import Part

READY_S = 1.0


@asynccontextmanager
async def killed(*parts: Part) -> AsyncIterator[None]:
    """End processes as a crash does; the fault is over when they are ready again."""
    for part in parts:
        part.kill()
    yield
    for part in parts:
        part.start()
    for part in parts:
        await part.until_ready()


@asynccontextmanager
async def suspended(*parts: Part) -> AsyncIterator[None]:
    """Let processes not run at all: they keep their connections and answer nothing."""
    for part in parts:
        part.send(signal.SIGSTOP)
    try:
        yield
    finally:
        for part in parts:
            part.send(signal.SIGCONT)


@asynccontextmanager
async def weather(links: Sequence[Link], made: Weather) -> AsyncIterator[None]:
    """Spoil links."""
    for each in links:
        each.weather = made
    try:
        yield
    finally:
        for each in links:
            each.weather = CLEAR


@asynccontextmanager
async def parted(*links: Link) -> AsyncIterator[None]:
    """Let nothing pass, and tell nobody."""
    for each in links:
        each.part()
    try:
        yield
    finally:
        for each in links:
            each.join()


@asynccontextmanager
async def reset(links: Sequence[Link], *, every_s: float) -> AsyncIterator[None]:
    """End all connections again and again."""

    async def resets() -> None:
        while True:
            for each in links:
                each.reset()
            await asyncio.sleep(every_s)

    task = asyncio.create_task(resets())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def forgotten(*links: Link) -> AsyncIterator[None]:
    """Leave all connections half-open; new ones are as they should be. It is over at once, and its effect is not."""
    for each in links:
        each.forget()
    yield


@asynccontextmanager
async def store_killed(fleet: Fleet) -> AsyncIterator[None]:
    """End the store as a crash does; it comes back with what its append-only file has."""
    fleet.store.kill()
    yield
    await asyncio.to_thread(fleet.store.start)


@asynccontextmanager
async def store_suspended(fleet: Fleet) -> AsyncIterator[None]:
    """Let the store not run at all."""
    assert fleet.store.process is not None
    fleet.store.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        fleet.store.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def replaced(parts: Sequence[Part]) -> AsyncIterator[None]:
    """Stop processes as an operator does and start them again, one after the other.

    Each has been ready for a while before the next one is stopped, as `minReadySeconds` of a deployment has it: its
    callers look for it again only now and then.
    """
    for part in parts:
        await asyncio.to_thread(part.stop)
        part.start()
        await part.until_ready()
        await asyncio.sleep(READY_S)
    yield
