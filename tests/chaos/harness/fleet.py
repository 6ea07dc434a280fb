"""Two replicas of every stateless service as processes, the registry and a store; what they call, they call over links."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from services.cli.supervision.topology import GRPC
from tests.support.link import CLEAR, Link, link
from tests.support.triton import TritonServer
from tests.support.valkey import Valkey
from tests.worlds.mesh import Addresses
from tests.worlds.parts import Part
from tests.worlds.ports import port_row

REPLICAS = 2
# As long as a stopping process goes on while others learn that it stops; in pods it is longer.
DRAIN_S = 1


@dataclass(frozen=True)
class Layout:
    """What a fleet has beyond the ordinary: Tritons, one a model service, and variables by service."""

    tritons: tuple[TritonServer, ...] = ()
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass
class Fleet:
    """The processes, and by the name of each the link over which others call it."""

    directory: Path
    store: Valkey
    registry: Part
    features: list[Part]
    models: list[Part]
    gateways: list[Part]
    links: dict[str, Link]
    tritons: Sequence[TritonServer] = ()

    @property
    def parts(self) -> list[Part]:
        """Every service process."""
        return [self.registry, *self.features, *self.models, *self.gateways]

    @property
    def pids(self) -> dict[str, int]:
        """The process of each part that runs, by name."""
        return {part.directory.name: part.process.pid for part in self.parts if part.up and part.process}

    @property
    def all_pids(self) -> list[int]:
        """Every process of the fleet, those of others' making too."""
        others = [self.store.process, *(server.process for server in self.tritons)]
        return [*self.pids.values(), *(each.pid for each in others if each is not None)]

    @property
    def addresses(self) -> Addresses:
        """Where callers call, beside the links."""
        gateway, features, model = (either(parts) for parts in (self.gateways, self.features, self.models))
        return Addresses(gateway, features, model, self.registry.address)

    def replicas(self, service: str) -> list[Part]:
        """The processes of a service."""
        return [part for part in self.parts if part.service == service]

    def links_to(self, service: str) -> list[Link]:
        """The links to all replicas of a service, or to the store."""
        return [made for name, made in self.links.items() if name.partition("-")[0] == service]

    async def whole(self) -> None:
        """Let everything run, and nothing stand between."""
        for made in self.links.values():
            made.weather, made.answers = CLEAR, None
            made.join()
        if self.store.process is None:
            self.store.start()
        for part in self.parts:
            part.send(signal.SIGCONT)
            part.start()
        for part in self.parts:
            await part.until_ready()

    def end(self) -> None:
        """End all processes as a crash does: `whole` starts them anew."""
        for part in self.parts:
            if part.up:
                part.kill()
        if self.store.process is not None:
            self.store.kill()


def either(parts: list[Part]) -> str:
    """One target for several processes."""
    return "ipv4:" + ",".join(part.address for part in parts)


async def _laid_out(stack: AsyncExitStack, directory: Path, store: Valkey, layout: Layout) -> Fleet:
    links: dict[str, Link] = {}

    async def linked(name: str, port: int) -> str:
        links[name] = await stack.enter_async_context(link("127.0.0.1", port))
        return links[name].address

    async def replicas(service: str, settings: Mapping[str, str], *tritons: TritonServer) -> list[Part]:
        made = []
        for number in range(REPLICAS):
            own = _of_triton(tritons[number]) if tritons else {}
            name = f"{service}-{number + 1}"
            told = {**settings, **own, "drain_delay_s": str(DRAIN_S)}
            made.append(Part(service, directory / name, told, variables(service)))
            await linked(name, made[-1].grpc_port)
        return made

    def variables(service: str) -> dict[str, str]:
        return {**GRPC, **layout.variables.get(service, {})}

    objects = {"objects": f"file://{directory / 'objects'}"}
    registry = Part("registry", directory / "registry", objects, variables("registry"))
    peers = {**objects, "registry": await linked("registry", registry.grpc_port)}
    redis = {"redis_url": f"redis://{await linked('store', store.port)}"}
    features = await replicas("features", {**peers, **redis})
    models = await replicas("model", peers, *layout.tritons)
    targets = {
        service: "ipv4:" + ",".join(made.address for name, made in links.items() if name.startswith(service))
        for service in ("features", "model")
    }
    gateways = await replicas("gateway", {**peers, **targets})
    return Fleet(directory, store, registry, features, models, gateways, links, layout.tritons)


def _of_triton(server: TritonServer) -> dict[str, str]:
    return {"triton": server.grpc, "triton_repository": str(server.repository), "triton_metrics": server.metrics}


@asynccontextmanager
async def fleet(directory: Path, layout: Layout | None = None) -> AsyncIterator[Fleet]:
    """Run the processes, and a store with an append-only file, for the time of the context."""
    layout = layout or Layout()
    arguments = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
    (directory / "store").mkdir(exist_ok=True)
    store = Valkey(directory / "store", port_row(), arguments)
    async with AsyncExitStack() as stack:
        made = await _laid_out(stack, directory, store, layout)
        try:
            await made.whole()
            yield made
        finally:
            made.end()
