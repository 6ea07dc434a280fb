"""Calls over TLS: who is let in, who is known by what name, and who is believed to be the one that was called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.mesh.errors import Code, MeshError
from services.mesh.security.certificates import TlsFiles
from services.mesh.security.identity import open_identity
from services.mesh.security.peer import peer_identity
from tests.support.certificates import DAY, LOOPBACK, Authority, settings, spiffe
from tests.support.exchanging import apply
from tests.support.probe import Probe, calling, new_probe, remote, server
from tests.support.waiting import eventually_answers

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that both ends trust."""
    return Authority()


class Seen:
    """Notes who has called."""

    def __init__(self) -> None:
        self.probe: Probe = new_probe()
        self.identities: list[str | None] = []
        self.peers: list[str] = []
        self.probe.act = self._note

    async def _note(self, request: Any, context: Any) -> None:
        self.identities.append(peer_identity(context))
        self.peers.append(context.peer())


@asynccontextmanager
async def stub(address: str, files: TlsFiles | None, **options: Any) -> AsyncIterator[Any]:
    """Open a stub that shows `files`."""
    async with open_identity(files) as identity, remote(address, identity=identity, **options) as made:
        yield made


async def refused(address: str, files: TlsFiles | None) -> str:
    """Call in vain, and return what gRPC says of it."""
    async with stub(address, files) as calls:
        with pytest.raises(MeshError) as error:
            await apply(calls)
    assert error.value.code is Code.UNAVAILABLE
    return error.value.message


@pytest.mark.parametrize("exchange", [True, False], ids=["streams", "calls"])
@pytest.mark.parametrize(
    ("names", "known"),
    [
        ((spiffe("gateway"), "gateway.local"), spiffe("gateway")),
        (("gateway.local", "gateway"), "gateway.local"),
        (("127.0.0.1",), None),
    ],
    ids=["SPIFFE", "DNS", "address"],
)
async def test_caller_is_known_by_his_certificate(
    authority: Authority, tmp_path: Path, exchange: bool, names: tuple[str, ...], known: str | None
) -> None:
    """By its URI, else by its first name; an address is nobody's name."""
    seen = Seen()
    own = authority.files(tmp_path / "server", *LOOPBACK)
    async with (
        server(seen.probe, **settings(own)) as serving,
        stub(serving.address, authority.files(tmp_path / "client", *names), exchange=exchange) as calls,
    ):
        assert 5 == await apply(calls)
    assert [known] == seen.identities
    assert seen.peers[0].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize("target", ["dns:///localhost:{}", "ipv4:127.0.0.1:{}", "127.0.0.1:{}"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_server_is_verified_by_the_host_of_the_target(
    authority: Authority, tmp_path: Path, target: str, name: str
) -> None:
    """A name is looked for in the certificate, not what it stands for; of an address, the address."""
    async with server(new_probe(), **settings(authority.files(tmp_path, name))) as serving:
        address, own = target.format(serving.address.rpartition(":")[2]), authority.files(tmp_path / "own", "a.local")
        if name in target:
            async with stub(address, own) as calls:
                assert 5 == await apply(calls)
        else:

            async def told() -> bool:
                return "Hostname Verification" in await refused(address, own)

            # A name may stand for two addresses; now and then gRPC tells of the one that nobody listens on.
            await eventually_answers(told)


@pytest.mark.parametrize("world", ["local", "grpc", "exchange"])
async def test_caller_without_a_certificate_is_nobody(world: Any) -> None:
    """Neither who calls without TLS has a name, nor a call of the process itself."""
    seen = Seen()
    async with calling(world, seen.probe) as calls:
        await apply(calls)
    assert [None] == seen.identities


async def test_certificates_of_clients_can_be_left_out(authority: Authority, tmp_path: Path) -> None:
    """Where callers are told apart otherwise they need no certificate; one that they have is not asked for."""
    seen = Seen()
    own = authority.files(tmp_path, *LOOPBACK)
    async with (
        server(seen.probe, **settings(own), tls_client_certificates=False) as serving,
        stub(serving.address, authority.files(tmp_path / "client", "a.local")) as calls,
    ):
        assert 5 == await apply(calls)
    assert [None] == seen.identities


@pytest.mark.parametrize("name", ["stranger", "expired", "early", "plain"])
async def test_stranger_is_not_let_in(authority: Authority, tmp_path: Path, name: str) -> None:
    """Nothing of his call reaches the service: without a certificate, with one of another authority, or out of its time."""
    seen = Seen()
    shown = {
        "stranger": Authority().issue("gateway.local"),
        "expired": authority.issue("gateway.local", until=-HOUR),
        "early": authority.issue("gateway.local", since=HOUR),
    }
    files = shown[name].write(tmp_path / "client", authority.cert) if name in shown else None
    async with server(seen.probe, **settings(authority.files(tmp_path, *LOOPBACK))) as serving:
        await refused(serving.address, files)
        async with stub(serving.address, authority.files(tmp_path / "known", "a.local")) as calls:
            assert 5 == await apply(calls)
    assert ["a.local"] == seen.identities


@pytest.mark.parametrize("name", ["another name", "another authority", "expired"])
async def test_server_that_only_says_who_it_is_is_not_called(authority: Authority, tmp_path: Path, name: str) -> None:
    """It has to show a certificate of a trusted authority, for the host that was called, which still holds."""
    seen = Seen()
    shown = {
        "another name": authority.issue("elsewhere.local"),
        "another authority": Authority().issue(*LOOPBACK),
        "expired": authority.issue(*LOOPBACK, since=-DAY, until=-HOUR),
    }[name]
    async with server(seen.probe, **settings(shown.write(tmp_path, authority.cert))) as serving:
        await refused(serving.address, authority.files(tmp_path / "client", "a.local"))
    assert [] == seen.identities


async def test_plain_server_is_not_called(authority: Authority, tmp_path: Path) -> None:
    """Who is to call over TLS calls nobody without it."""
    seen = Seen()
    async with server(seen.probe) as serving:
        await refused(serving.address, authority.files(tmp_path, "a.local"))
    assert [] == seen.identities


async def test_gates_hold_over_tls(authority: Authority, tmp_path: Path) -> None:
    """Many calls at once over one connection are all answered."""
    seen = Seen()
    own = authority.files(tmp_path, *LOOPBACK)
    async with server(seen.probe, **settings(own)) as serving, stub(serving.address, own, exchange=True) as calls:
        assert [number + 1 for number in range(50)] == await asyncio.gather(*(apply(calls, n) for n in range(50)))
