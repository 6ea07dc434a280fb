"""Callers are let in by their certificates: what an access file says of peers holds for calls, and for streams of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from predictmesh.registry.v1.registry_service_pb2 import WatchSnapshotRequest
from services.mesh.errors import MeshError, Reason
from services.mesh.security.guard import Guard
from services.mesh.security.identity import open_identity
from tests.support.certificates import LOOPBACK, Authority, settings, spiffe
from tests.support.exchanging import apply
from tests.support.probe import new_probe, remote, server

PEERS = [
    {"identity": spiffe("gateway"), "roles": ["service", "releaser"]},
    {"identity": spiffe("model"), "roles": ["service"]},
    {"identity": "release.local", "roles": ["releaser"]},
]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority of all certificates."""
    return Authority()


@asynccontextmanager
async def called_by(authority: Authority, directory: Path, name: str, *, exchange: bool = False) -> AsyncIterator[Any]:
    """Yield the stub of a caller of that name, whose server knows the peers."""
    access = directory / "access.yaml"
    access.write_text(yaml.safe_dump({"peers": PEERS}))
    own = settings(authority.files(directory / "server", *LOOPBACK))
    async with (
        server(new_probe(), guard=Guard("probe", access), **own) as serving,
        open_identity(authority.files(directory / "client", name)) as identity,
        remote(serving.address, identity=identity, exchange=exchange) as stub,
    ):
        yield stub


@pytest.mark.parametrize(
    ("name", "exchange"),
    [(spiffe("gateway"), True), (spiffe("gateway"), False), ("release.local", False)],
    ids=["service by stream", "service by call", "person"],
)
async def test_peer_may_what_its_roles_say(authority: Authority, tmp_path: Path, name: str, exchange: bool) -> None:
    """It brings no token: its certificate is all that it shows."""
    async with called_by(authority, tmp_path, name, exchange=exchange) as stub:
        assert 5 == await apply(stub)


@pytest.mark.parametrize("exchange", [True, False], ids=["stream", "call"])
async def test_peer_may_no_more(authority: Authority, tmp_path: Path, exchange: bool) -> None:
    """A service watches, and changes nothing."""
    async with called_by(authority, tmp_path, spiffe("model"), exchange=exchange) as stub:
        watch = stub.WatchSnapshot(WatchSnapshotRequest(known_revision=2))
        assert [0, 1] == [response.revision async for response in watch]
        with pytest.raises(MeshError) as error:
            await apply(stub)
    assert Reason.MISSING_ROLE is error.value.reason


@pytest.mark.parametrize(
    ("exchange", "reason"),
    [(True, Reason.UPSTREAM_UNAVAILABLE), (False, Reason.MISSING_CREDENTIALS)],
    ids=["stream", "call"],
)
async def test_certificate_that_nobody_knows(
    authority: Authority, tmp_path: Path, exchange: bool, reason: Reason
) -> None:
    """That an authority vouches for a name does not say what it may; no stream of calls is begun with it."""
    async with called_by(authority, tmp_path, spiffe("stranger"), exchange=exchange) as stub:
        with pytest.raises(MeshError, match=f"the certificate of {spiffe('stranger')} is not enough") as error:
            await apply(stub)
    assert reason is error.value.reason
