"""Five processes behind two Envoys: one that users run before the gateways, and one that is a mesh of Istio."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.envoy.requests import message
from tests.support.certificates import Authority
from tests.support.envoy import Proxy, envoy
from tests.support.istio.mesh import PEERS, Istio
from tests.support.manifests import SERVICES, Mix, rendered
from tests.support.onnx_models import linear
from tests.support.rest import Rest
from tests.support.valkey import valkey
from tests.worlds.loop import share_loop
from tests.worlds.mesh import Addresses, connect
from tests.worlds.parts import Part
from tests.worlds.ports import port_row
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.up import STOP_LIMIT_S, command

HOST = "predict.example.com"
PORTS = 50


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in the loop of the mesh."""
    share_loop(items, __file__)


@dataclass
class Issuer:
    """Whoever issues tokens to callers."""

    key: ec.EllipticCurvePrivateKey
    name: str = "https://issuer.example.com"

    @property
    def jwks(self) -> str:
        """The key to check them by."""
        found = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**found, "kid": "1", "alg": "ES256", "use": "sig"}]})

    def token(self, **claims: object) -> str:
        """A token that holds, but for what `claims` say otherwise."""
        said = {"iss": self.name, "aud": "predictmesh", "sub": "somebody", "exp": 4_102_444_800, **claims}
        return jwt.encode(said, self.key, algorithm="ES256", headers={"kid": "1"})


@dataclass
class World:
    """The processes, each of which a test may kill, and the proxy that is a mesh."""

    ports: Iterator[int]
    parts: dict[str, list[Part]]
    istio: Istio
    issuer: Issuer
    mesh: Proxy

    @property
    def gateways(self) -> list[Part]:
        """Two gateways."""
        return self.parts["gateway"]

    @property
    def addresses(self) -> Addresses:
        """Where to call the services themselves, past all proxies."""
        return Addresses(*(self.parts[service][0].address for service in SERVICES))

    def outside(self, token: str | None = "", *, next_release: bool = False) -> Rest:
        """A caller from outside; with a token that holds unless another one, or None, is given."""
        said = self.issuer.token() if token == "" else token
        headers = {"authorization": f"Bearer {said}"} if said else {}
        context = ssl.create_default_context(cadata=self.istio.authority.cert.decode())
        return Rest(self._ingress(next_release), headers, context, HOST)

    def grpc_outside(self, *, next_release: bool = False) -> grpc.aio.Channel:
        """The same by gRPC, without a token."""
        credentials = grpc.ssl_channel_credentials(self.istio.authority.cert)
        name = (("grpc.ssl_target_name_override", HOST), ("grpc.default_authority", HOST))
        return grpc.aio.secure_channel(f"127.0.0.1:{self._ingress(next_release)}", credentials, options=name)

    def _ingress(self, next_release: bool) -> int:
        return self.istio.ingress_next if next_release else self.istio.ingress

    async def up(self) -> None:
        """Start what does not run, and wait until all is ready.

        The gateways come last. Their sidecars are there at once, so that to them a service that has not started yet is one
        that fails: they would look after it again and again, after longer and longer.
        """
        behind = [part for service, parts in self.parts.items() if service != "gateway" for part in parts]
        for parts in (behind, self.gateways):
            for part in parts:
                part.start()
            for part in parts:
                await part.until_ready()


def _laid_out(directory: Path, ports: Iterator[int]) -> dict[str, list[Part]]:
    objects = {"objects": f"file://{directory / 'objects'}"}
    return {
        service: [
            Part(service, directory / f"{service}-{number}", objects, grpc_port=next(ports), http_port=next(ports))
            for number in range(count)
        ]
        for service, count in {"registry": 1, "features": 1, "model": 1, "gateway": 2}.items()
    }


def _through_proxies(parts: dict[str, list[Part]], istio: Istio, store: str) -> None:
    """Have each service call its peers by the sidecar that it would have."""
    for caller, peers in PEERS.items():
        for part in parts[caller]:
            targets = {peer: f"127.0.0.1:{istio.outbound[caller, peer]}" for peer in peers}
            part.settings = {**part.settings, **targets, **({"redis_url": store} if caller == "features" else {})}


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The processes, and the mesh between them."""
    directory = tmp_path_factory.mktemp("envoy")
    issuer = Issuer(ec.generate_private_key(ec.SECP256R1()))
    # All of one row, so that none is taken twice.
    first = port_row(PORTS)
    ports = iter(range(first, first + PORTS))
    parts = _laid_out(directory, ports)
    pods = {service: [part.address for part in found] for service, found in parts.items()}
    resources = rendered(Mix("istio")), rendered(Mix("istio", ("istio/next",)))
    istio = Istio(*resources, pods, Authority("cluster.local"), issuer.jwks, directory, ports)
    with ExitStack() as stack:
        store = stack.enter_context(valkey())
        _through_proxies(parts, istio, store.url)
        mesh = stack.enter_context(envoy(istio.bootstrap(), directory / "mesh"))
        for part in chain.from_iterable(parts.values()):
            stack.callback(part.stop)
        world = World(ports, parts, istio, issuer, mesh)
        await world.up()
        yield world


@pytest_asyncio.fixture(loop_scope="session")
async def world(processes: World) -> World:
    """The processes, all of them running."""
    await processes.up()
    return processes


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def own(processes: World) -> AsyncIterator[Sandbox]:
    """Endpoint `ride`, which both gateways answer: ten times the rider's number, as stored."""
    async with connect(processes.addresses) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("tens"), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", linear(1.0, width=1), {"x": ["rider:tens"]})
        keys = {"rider_id": [f"r{number}" for number in range(10)]}
        await made.write("rider", keys, {"tens": [10.0 * number for number in range(10)]})
        for gateway in processes.gateways:
            await _answered(gateway, made)
        yield made


async def _answered(gateway: Part, own: Sandbox) -> None:
    async with connect(Addresses(gateway.address, *[gateway.address] * 3)) as mesh:

        async def answered() -> bool:
            try:
                await mesh.gateway.Predict(message(own), timeout=10)
            except grpc.aio.AioRpcError:
                return False  # it does not know the endpoint yet, or whom it calls is not there for it
            return True

        await eventually(answered, f"an answer of {gateway.address}", within_s=60)


@dataclass(frozen=True)
class Edge:
    """`predictmesh envoy` as a process."""

    process: subprocess.Popen[str]
    address: str
    proxy: Proxy

    @property
    def rest(self) -> Rest:
        """A caller."""
        return Rest(int(self.address.rpartition(":")[2]))


@pytest.fixture(scope="package")
def edge(processes: World, own: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """One before both gateways."""
    directory, address = tmp_path_factory.mktemp("edge"), f"127.0.0.1:{next(processes.ports)}"
    gateways = ",".join(part.address for part in processes.gateways)
    http_ports = ",".join(str(part.http_port) for part in processes.gateways)
    line = command(
        "envoy", "--listen", address, "--gateway", gateways, "--http-port", http_ports, "--data", str(directory)
    )
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        assert {"rest": f"http://{address}/v1", "grpc": address, "gateway": gateways} == ready
        yield Edge(process, address, Proxy(directory / "envoy"))
    finally:
        process.terminate()
        status = process.wait(STOP_LIMIT_S)
        process.stdout.close()
    assert 0 == status
