"""The life of a process: adapters open, ready, serving; on a signal not serving, drained, closed in reverse."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import uvloop

from services.mesh.admission.gate import Gate
from services.mesh.draining import until_left
from services.mesh.errors import InvalidArgument, MeshError
from services.mesh.http import HttpPort
from services.mesh.interceptors import server_chain
from services.mesh.methods import Servicer
from services.mesh.security.guard import Guard
from services.mesh.security.identity import Identity
from services.mesh.security.opening import open_guard
from services.mesh.security.validity import certificate_status, open_told_identity
from services.mesh.server import MeshServer, PortTaken
from services.mesh.settings import ServiceSettings, SettingsError, settings_from_arguments
from services.mesh.telemetry import logs
from services.mesh.telemetry.tracing import open_tracing

logger = logging.getLogger(__name__)
READY_POLL_S = 0.05


@dataclass(frozen=True)
class Service:
    """A service, built and not yet served.

    `ready` answers "" or why it is not. `status` answers what `predictmesh status` shows of it. `drain` ends what would
    not end by itself, streams above all, when the server is about to stop. `gates` let calls in, by the paths of methods.
    """

    name: str
    servicers: Sequence[Servicer]
    ready: Callable[[], str]
    status: Callable[[], dict[str, object]]
    drain: Callable[[], None] = lambda: None
    gates: Mapping[str, Gate] = field(default_factory=dict)


T = TypeVar("T", bound=ServiceSettings)
Build = Callable[[T], AbstractAsyncContextManager[Service]]


def main(settings_class: type[T], build: Build[T]) -> None:
    """Run one service as this process until a signal; exits with 2 when its settings or ports cannot be used.

    Exits with 1 when something else keeps it from starting, such as a store that does not answer.
    """
    settings = settings_from_arguments(settings_class)
    logs.configure(settings_class.service, settings.log_level)
    try:
        uvloop.run(_run(settings, build))
    except (PortTaken, SettingsError, InvalidArgument) as error:
        _fail(error, 2)
    except MeshError as error:
        _fail(error, 1)


def _fail(error: Exception, status: int) -> NoReturn:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(status)


async def _run(settings: T, build: Build[T]) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    async with build(settings) as service, serving(service, settings):
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        # Nearly all of a request is freed without it: looking often costs much and finds little.
        gc.set_threshold(10_000, 10, 10)
        await stop.wait()


@dataclass(frozen=True)
class Addresses:
    """Where a process listens."""

    grpc: str
    http: str


@asynccontextmanager
async def serving(service: Service, settings: ServiceSettings) -> AsyncIterator[Addresses]:
    """Serve `service` over gRPC and HTTP for the time of the context, and drain it at the end."""
    async with (
        open_told_identity(settings.tls, service.name) as identity,
        open_guard(service.name, settings) as guard,
        _serving(service, settings, identity, guard) as addresses,
    ):
        yield addresses


@asynccontextmanager
async def _serving(
    service: Service, settings: ServiceSettings, identity: Identity | None, guard: Guard | None
) -> AsyncIterator[Addresses]:
    tracing = open_tracing(service.name, endpoint=settings.otlp_endpoint, sample_ratio=settings.trace_sample_ratio)
    server = MeshServer(settings, service.gates, identity, guard)
    chain = server_chain(tracing, max_in_flight=settings.max_in_flight, gates=service.gates, guard=guard)
    server.add(service.servicers, chain)
    started = time.monotonic()
    draining = asyncio.Event()

    def ready() -> str:
        return "draining" if draining.is_set() else service.ready()

    def announced() -> str:
        # Peers go by the health service, so that nobody may be told earlier.
        return ready() or ("" if server.serving else "about to serve")

    def status() -> dict[str, object]:
        return {
            "name": service.name,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - started, 1),
            "ready": not ready(),
            "reason": ready(),
            **({} if identity is None else {"certificate": certificate_status(identity)}),
            **({} if guard is None else {"access": guard.status()}),
            **service.status(),
        }

    try:
        http = HttpPort(settings.host, settings.http_port, ready=announced, status=status)
    except OSError as error:
        raise PortTaken(f"cannot listen on {settings.host}:{settings.http_port}: {error.strerror}") from error
    with http:
        await server.start()
        announcing = asyncio.create_task(_announce(server, ready))
        logger.info("listening", extra={"grpc": server.address, "http": http.address})
        try:
            yield Addresses(server.address, http.address)
        finally:
            draining.set()
            announcing.cancel()
            await server.set_serving(False)
            await until_left(lambda: server.calls, settings.drain_delay_s)
            service.drain()
            await server.stop(settings.grace_s)
            tracing.close()
            logger.info("stopped")


async def _announce(server: MeshServer, ready: Callable[[], str]) -> None:
    """Keep the health service at what `ready` says."""
    serving = False
    while True:
        if serving == bool(ready()):
            serving = not serving
            await server.set_serving(serving)
        await asyncio.sleep(READY_POLL_S)


def _on_signals(stop: asyncio.Event) -> None:
    def notice() -> None:
        if stop.is_set():
            os._exit(1)  # the second signal: whoever sends it does not want to wait
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, notice)
