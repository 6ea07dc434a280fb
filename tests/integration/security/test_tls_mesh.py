"""The services as processes on TLS: nobody else is let in, and their certificates are replaced under load."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from deploy.envoy.bootstrap import bootstrap
from services.cli.fetch import fetch, fetch_json
from services.cli.targets import SERVICES, find_grpc, find_http
from services.mesh.security.certificates import TlsFiles, read
from tests.support.certificates import LOOPBACK, Authority, Leaf, spiffe
from tests.support.commands import run, succeed
from tests.support.envoy import envoy
from tests.support.onnx_models import linear
from tests.worlds.mesh import connect
from tests.worlds.ports import port_row
from tests.worlds.resources import field, view
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic
from tests.worlds.up import Up, up

CALL_LIMIT_S = 30.0
_NOT_AFTER = re.compile(r'^predictmesh_certificate_not_after_timestamp_seconds{service="\w+"} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Secured:
    """A running `up` on TLS, its authority, and the files that all of its services show."""

    up: Up
    data: Path
    authority: Authority
    files: TlsFiles

    def listed(self, addresses: str) -> Sequence[str]:
        """The addresses of the processes of a service."""
        return addresses.split(",")

    def http(self) -> Sequence[str]:
        """Where every process answers HTTP."""
        return [address for service in SERVICES for address in self.listed(self.up.line["http"][service])]

    def replace(self) -> float:
        """Give all services a new certificate, and return when it ends."""
        # To the second, in which a certificate tells its end, it may be issued together with the last one.
        life = read(self.files).not_after - datetime.now(UTC) + timedelta(minutes=1)
        self.authority.issue(*LOOPBACK, spiffe("all"), until=life).write(self.files.cert.parent, self.authority.cert)
        return read(self.files).not_after.timestamp()

    def ends(self) -> set[float]:
        """When the certificates end that the services have in use."""
        pages = [fetch(address, "/metrics", 5)[1] for address in self.http()]
        return {float(end) for page in pages for end in _NOT_AFTER.findall(page)}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """All services show one certificate, which is told to `up` by its environment; there are two of the model service."""
    directory = tmp_path_factory.mktemp("tls")
    authority = Authority()
    files = authority.files(directory / "certificates", *LOOPBACK, spiffe("all"))
    env = {f"PREDICTMESH_TLS_{name.upper()}_FILE": str(file) for name, file in files._asdict().items()}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREDICTMESH_", "OTEL_"))]:
            patch.delenv(name)
        with up(directory, "--log-level", "warning", env=env, replicas={"model": 2}) as running:
            yield Secured(running, directory / "data", authority, files)


def credentials(authority: Authority, leaf: Leaf | None) -> grpc.ChannelCredentials:
    """What a caller shows, and that it trusts the services."""
    if leaf is None:
        return grpc.ssl_channel_credentials(authority.cert)
    return grpc.ssl_channel_credentials(authority.cert, leaf.key, leaf.cert)


@pytest_asyncio.fixture
async def own(secured: Secured) -> AsyncIterator[Sandbox]:
    """Endpoint `ride`: ten times the rider's number, as stored; the caller has a certificate of its own."""
    shown = credentials(secured.authority, secured.authority.issue("caller.local"))
    async with connect(secured.up.addresses, shown) as mesh:
        made = Sandbox(mesh)
        await made.view(view("rider", field("tens"), entity="rider", keys={"rider_id": "STRING"}))
        await made.serve("ride", linear(1.0, width=1), {"x": ["rider:tens"]})
        await made.until_runtime("ride", "1.0.0", processes=2)
        keys = {"rider_id": [f"r{number}" for number in range(10)]}
        await made.write("rider", keys, {"tens": [10.0 * number for number in range(10)]})

        async def served() -> bool:
            found = await asyncio.to_thread(fetch_json, secured.up.line["http"]["gateway"], "/statusz", 5)
            return made.full("ride") in found[1]["endpoints"]

        await eventually(served, "the endpoint")
        yield made


async def test_commands_find_out_by_themselves(secured: Secured, own: Sandbox) -> None:
    """A prediction goes over all hops; the command line takes the certificates of the running `up`, or those it is given."""
    ask, at = ("predict", own.full("ride"), "--entity", "rider_id=r7"), ("--data", secured.data)
    answer = await asyncio.to_thread(succeed, *ask, *at)
    assert "70" in answer
    shown = await asyncio.to_thread(succeed, "status", *at)
    assert 5 == shown.count("certificate names 127.0.0.1, localhost")
    elsewhere = ("--gateway", secured.up.line["gateway"])
    refused = await asyncio.to_thread(run, *ask, *elsewhere, *at)
    assert 1 == refused.code
    assert "if it is TLS, --ca says whom to trust" in refused.err
    given = [text for name, file in secured.files._asdict().items() for text in (f"--{name}", file)]
    assert "70" in await asyncio.to_thread(succeed, *ask, *elsewhere, *given, *at)


async def test_nobody_else_is_let_in(secured: Secured) -> None:
    """No process answers who does without TLS, has no certificate, or one of another authority; not of its health either."""
    strangers = {
        "plain": None,
        "without a certificate": credentials(secured.authority, None),
        "of another authority": credentials(secured.authority, Authority().issue("caller.local")),
    }
    known = credentials(secured.authority, secured.authority.issue("caller.local"))
    addresses = [address for service in SERVICES for address in secured.listed(secured.up.line[service])]
    assert 5 == len(addresses)
    for address in addresses:
        assert "SERVING" == await health(address, known)
        for who, shown in strangers.items():
            assert "UNAVAILABLE" == await health(address, shown), who


async def health(address: str, shown: grpc.ChannelCredentials | None) -> str:
    """Return what the health service says, or the call's code."""
    channel = grpc.aio.insecure_channel(address) if shown is None else grpc.aio.secure_channel(address, shown)
    async with channel:
        try:
            answer = await HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=CALL_LIMIT_S)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError as error:
            return error.code().name
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_envoy_stands_before_gateways_on_tls(secured: Secured, own: Sandbox, tmp_path: Path) -> None:
    """REST is answered: Envoy shows the certificate of the `up`, and takes the gateway for what its own one says."""
    target = find_grpc("gateway", None, secured.data)
    assert target.tls is not None
    http = find_http("gateway", None, secured.data)
    ports = [int(address.rpartition(":")[2]) for address in http.addresses]
    listen = f"127.0.0.1:{port_row(1)}"
    told = bootstrap(listen, "127.0.0.1:0", target.addresses, target.tls.line(), http_ports=ports)
    with envoy(told, tmp_path) as proxy:

        async def listed() -> bool:
            status, body = await asyncio.to_thread(fetch, listen, "/v1/endpoints", 5)
            return status == 200 and own.full("ride") in body

        await eventually(listed, "the endpoints")
        # Though its HTTP port speaks no TLS.
        assert [{}] * len(ports) == list(proxy.health("gateway").values())


async def test_certificates_are_replaced_under_load(secured: Secured, own: Sandbox) -> None:
    """Every process takes the new one without a restart, one that starts anew is found again, and no prediction fails."""
    async with traffic(own, "ride", timeout_s=CALL_LIMIT_S) as calls:
        for _ in range(2):
            end = secured.replace()

            async def taken(end: float = end) -> bool:
                return {end} == await asyncio.to_thread(secured.ends)

            await eventually(taken, "the new certificate in every process")
            await calls.more(50)
        restarted = await asyncio.to_thread(run, "restart", "model", "--data", secured.data)
        assert 0 == restarted.code, restarted.err
        await calls.more(50)
        calls.flawless()
    assert not calls.degradations
