"""A certificate does instead of a key, where the access file says so: for calls, and for streams of calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.context import caller_name
from services.mesh.errors import MeshError, Reason
from services.mesh.security.guard import Guard
from services.mesh.security.identity import open_identity
from services.mesh.security.opening import open_guard
from services.mesh.settings import SettingsError
from tests.support.access import key, secret, shows, write
from tests.support.certificates import LOOPBACK, Authority, settings, spiffe
from tests.support.probe import Settings, new_probe, remote, server

PEERS = [
    {"identity": spiffe("gateway"), "roles": ["service"]},
    {"identity": "ci.local", "roles": ["releaser"], "endpoints": ["team/*"]},
]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that both ends trust."""
    return Authority()


class World:
    """A server on TLS that knows some certificates, and who has called it."""

    def __init__(self, authority: Authority, directory: Path) -> None:
        self._authority = authority
        self._directory = directory
        self.callers: list[str] = []
        self.probe = new_probe()
        self.probe.act = self._note
        self.guard = Guard("probe", write(directory / "access.yaml", key("ann", "releaser"), peers=PEERS))

    async def _note(self, request: Any, context: Any) -> None:
        self.callers.append(caller_name())

    @asynccontextmanager
    async def called_by(self, name: str, **options: Any) -> AsyncIterator[Any]:
        """Calls by whoever has a certificate of that name."""
        own = self._authority.files(self._directory / "server", *LOOPBACK)
        shown = self._authority.files(self._directory / "client", name)
        async with (
            server(self.probe, guard=self.guard, **settings(own)) as serving,
            open_identity(shown) as identity,
            remote(serving.address, identity=identity, **options) as stub,
        ):
            yield stub


@pytest.fixture
def world(authority: Authority, tmp_path: Path) -> World:
    """The server and its callers."""
    return World(authority, tmp_path)


def apply(name: str) -> registry_pb.ApplyRequest:
    """Return a request to change an endpoint."""
    request = registry_pb.ApplyRequest()
    request.resources.add().endpoint.name = name
    return request


async def refused(call: Any) -> Reason:
    """Return why a call is refused."""
    with pytest.raises(MeshError) as error:
        await call
    return error.value.reason


async def test_certificate_that_is_listed(world: World) -> None:
    """Its bearer may do what it is listed with, for the names that it is."""
    async with world.called_by("ci.local") as stub:
        await stub.Apply(apply("team/a"))
        assert Reason.ENDPOINT_NOT_ALLOWED is await refused(stub.Apply(apply("other")))
    assert ["ci.local"] == world.callers


async def test_certificate_that_is_not_listed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """That it is valid is not enough; a key is, and the log has whose certificate it was."""
    async with world.called_by(spiffe("stranger")) as stub:
        assert Reason.MISSING_CREDENTIALS is await refused(stub.Apply(apply("team/a")))
        await stub.Apply(apply("team/a"), metadata=shows(secret("ann")))
    assert ["ann"] == world.callers
    [line] = [record for record in caplog.records if record.name == "predictmesh.audit"]
    told: Mapping[str, Any] = vars(line)
    assert (spiffe("stranger"), "MISSING_CREDENTIALS") == (told["identity"], told["reason"])


async def test_key_that_is_shown_beside_it_counts(world: World) -> None:
    """A person behind a proxy is that person."""
    async with world.called_by(spiffe("gateway")) as stub:
        await stub.Apply(apply("a"), metadata=shows(secret("ann")))
        assert Reason.INVALID_CREDENTIALS is await refused(stub.Apply(apply("a"), metadata=shows("pmk_nobody")))
    assert ["ann"] == world.callers


async def test_stream_of_calls(world: World) -> None:
    """A service opens it by its certificate; each call over it is what a service may make."""
    async with world.called_by(spiffe("gateway"), exchange=True) as stub:
        assert Reason.MISSING_ROLE is await refused(stub.Apply(apply("a")))
        await stub.Apply(apply("a"), metadata=shows(secret("ann")))
    assert ["ann"] == world.callers


async def test_stranger_opens_no_stream_of_calls(world: World) -> None:
    """Nor does one who is no service."""
    for name in (spiffe("stranger"), "ci.local"):
        async with world.called_by(name, exchange=True) as stub:
            assert Reason.UPSTREAM_UNAVAILABLE is await refused(stub.Apply(apply("team/a")))
    assert [] == world.callers


async def test_certificates_that_nobody_is_asked_for(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One file may serve all services, one of which asks for keys and tokens only: it starts, and says so."""
    async with open_guard("probe", Settings(access_file=tmp_path / "access.yaml")) as guard:
        assert guard is not None
        assert {"keys": 1, "peers": 2} == guard.status()
    assert "not asked for" in caplog.text


async def test_certificates_that_are_asked_for(
    world: World, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is to be said."""
    own = settings(authority.files(tmp_path, "probe.local"))
    async with open_guard("probe", Settings(access_file=tmp_path / "access.yaml", **own)) as guard:
        assert guard is not None
    assert "not asked for" not in caplog.text


async def test_file_that_cannot_be_used_at_the_start(tmp_path: Path) -> None:
    """The service does not start open."""
    with pytest.raises(SettingsError, match=r"access_file: .*nowhere"):
        async with open_guard("probe", Settings(access_file=tmp_path / "nowhere")):
            pass


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False), ("::", True)]
)
async def test_open_service(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Who listens beyond this machine without asking who calls is told so."""
    async with open_guard("probe", Settings(host=host)) as guard:
        assert guard is None
    assert warned is any("may do everything" in message for message in caplog.messages)


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])
@pytest.mark.parametrize("tls", [True, False])
async def test_keys_in_clear(
    host: str, warned: bool, tls: bool, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks for keys where others listen, too, is told so."""
    file = write(tmp_path / "access.yaml", key("ann", "releaser"))
    own = settings(authority.files(tmp_path, "probe.local")) if tls else {}
    async with open_guard("probe", Settings(host=host, access_file=file, **own)):
        pass
    assert (warned and not tls) is any("in clear" in message for message in caplog.messages)
