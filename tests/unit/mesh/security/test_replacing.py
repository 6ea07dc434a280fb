"""A certificate is replaced while calls go on: none fails, none starts anew, and what cannot be used is not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.mesh import line
from services.mesh.channel import open_stub
from services.mesh.connecting import open_connections
from services.mesh.security import identity as identities
from services.mesh.security import succession
from services.mesh.security.certificates import Material, TlsFiles, read
from services.mesh.security.identity import Identity, open_identity
from services.mesh.security.peer import peer_identity
from services.mesh.security.validity import certificate_status, open_told_identity
from services.mesh.server import MeshServer
from tests.support.certificates import DAY, LOOPBACK, Authority, settings
from tests.support.exchanging import LIMIT_S, apply, tasks_of
from tests.support.probe import Probe, new_probe, server
from tests.support.waiting import eventually, eventually_answers


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at files, try again and close sooner than a service has to."""
    monkeypatch.setattr(identities, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(succession, "AGAIN_S", 0.02)
    monkeypatch.setattr(line, "LINGER_S", 0.0)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that both ends trust."""
    return Authority()


class Callers:
    """Knows the callers of a probe by name, and holds up the calls of the actor "slow" until `open` is set."""

    def __init__(self) -> None:
        self.probe: Probe = new_probe()
        self.names: list[str | None] = []
        self.open = asyncio.Event()
        self.held = 0
        self.numbers: asyncio.Queue[int] = asyncio.Queue()
        self.probe.act, self.probe.watch = self._act, self._watch

    async def _act(self, request: Any, context: Any) -> None:
        self.names.append(peer_identity(context))
        if getattr(request, "actor", "") == "slow":
            self.held += 1
            await self.open.wait()

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        while True:
            yield registry_pb.WatchSnapshotResponse(revision=await self.numbers.get())


@asynccontextmanager
async def ready(callers: Callers, files: TlsFiles, **options: Any) -> AsyncIterator[MeshServer]:
    """Serve, and say so."""
    async with server(callers.probe, **settings(files), **options) as serving:
        await serving.set_serving(True)
        yield serving


Open = Callable[[str, TlsFiles], Any]


@asynccontextmanager
async def stub(address: str, files: TlsFiles) -> AsyncIterator[Callable[[], Any]]:
    """Yield what returns the stub as it is now: one that stays the same."""
    async with open_identity(files) as identity, open_stub(address, RegistryServiceStub, identity=identity) as made:
        yield lambda: made


@asynccontextmanager
async def connection(address: str, files: TlsFiles) -> AsyncIterator[Callable[[], Any]]:
    """Yield what returns the stub as it is now: that of a connection to a replica."""
    async with (
        open_identity(files) as identity,
        open_connections(address, RegistryServiceStub, identity=identity) as (replica,),
    ):
        yield lambda: replica.stub


both = pytest.mark.parametrize("opened", [stub, connection], ids=["stub", "connection"])


async def until_named(calls: Callable[[], Any], callers: Callers, name: str) -> None:
    """Call until the server knows the caller by `name`; no call may fail."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            assert 5 == await apply(calls())
            if callers.names[-1] == name:
                return
            await asyncio.sleep(0.01)


async def shown(address: str, files: TlsFiles) -> set[str]:
    """Return the names in the certificate that the server shows to who connects now."""
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("peercert")["subjectAltName"]
    writer.close()
    return {name for _, name in found}


async def until_shown(address: str, files: TlsFiles, names: set[str]) -> None:
    """Connect until the server shows a certificate with exactly these names."""

    async def there() -> bool:
        return names == await shown(address, files)

    await eventually_answers(there)


@both
async def test_calls_move_to_the_new_certificate(opened: Open, authority: Authority, tmp_path: Path) -> None:
    """Calls go on all the time, and soon are those of the new name; what is under way goes on to its end."""
    callers, files = Callers(), authority.files(tmp_path / "client", "old.local")
    async with (
        ready(callers, authority.files(tmp_path, *LOOPBACK)) as serving,
        opened(serving.address, files) as calls,
    ):
        await until_named(calls, callers, "old.local")
        slow = asyncio.create_task(apply(calls(), actor="slow"))
        watching = calls().WatchSnapshot(registry_pb.WatchSnapshotRequest())
        callers.numbers.put_nowait(1)
        assert 1 == (await anext(watching)).revision
        await eventually(lambda: callers.held == 1)

        authority.files(tmp_path / "client", "new.local")
        await until_named(calls, callers, "new.local")

        # As many turns as the old connection would need to end.
        for _ in range(50):
            assert 5 == await apply(calls())
        assert tasks_of("Line.retire")
        callers.open.set()
        assert 5 == await slow
        callers.numbers.put_nowait(2)
        assert 2 == (await anext(watching)).revision
        await watching.aclose()
        await eventually(lambda: not tasks_of("Line.retire"))


@both
async def test_certificate_that_is_replaced_at_once(opened: Open, authority: Authority, tmp_path: Path) -> None:
    """When the connection has been made, and nothing else has been done yet."""
    callers, files = Callers(), authority.files(tmp_path / "client", "old.local")
    async with (
        ready(callers, authority.files(tmp_path, *LOOPBACK)) as serving,
        opened(serving.address, files) as calls,
    ):
        authority.files(tmp_path / "client", "new.local")
        await until_named(calls, callers, "new.local")


@both
async def test_no_call_fails_while_certificates_are_replaced(
    opened: Open, authority: Authority, tmp_path: Path
) -> None:
    """Both ends are given new ones again and again, under many calls at once."""
    callers, own, theirs = Callers(), tmp_path / "server", tmp_path / "client"
    async with (
        ready(callers, authority.files(own, *LOOPBACK)) as serving,
        opened(serving.address, authority.files(theirs, "client-0.local")) as calls,
    ):
        over = asyncio.Event()

        async def caller() -> None:
            while not over.is_set():
                assert 5 == await apply(calls())

        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(caller())
            for number in range(1, 4):
                authority.files(own, *LOOPBACK, f"server-{number}.local")
                authority.files(theirs, f"client-{number}.local")
                await eventually(lambda number=number: callers.names[-1:] == [f"client-{number}.local"])  # type: ignore[misc]
            over.set()


async def test_server_shows_the_new_certificate(authority: Authority, tmp_path: Path) -> None:
    """Who connects after the replacement sees it; who is connected goes on."""
    callers, client = Callers(), authority.files(tmp_path / "client", "a.local")
    async with (
        ready(callers, authority.files(tmp_path, *LOOPBACK)) as serving,
        stub(serving.address, client) as calls,
    ):
        assert 5 == await apply(calls())
        assert set(LOOPBACK) == await shown(serving.address, client)
        authority.files(tmp_path, *LOOPBACK, "renewed.local")
        await until_shown(serving.address, client, {*LOOPBACK, "renewed.local"})
        assert 5 == await apply(calls())


@both
async def test_connection_stays_where_the_new_certificate_does_not_do(
    opened: Open, authority: Authority, tmp_path: Path
) -> None:
    """One that the server does not trust is tried, and calls go on over the old connection until there is a better one."""
    callers, files = Callers(), authority.files(tmp_path / "client", "old.local")
    async with (
        ready(callers, authority.files(tmp_path, *LOOPBACK)) as serving,
        opened(serving.address, files) as calls,
    ):
        await until_named(calls, callers, "old.local")
        tried = asyncio.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Identity, "channel_credentials", _noting(Identity.channel_credentials, tried))
            Authority().issue("stranger.local").write(tmp_path / "client", authority.cert)
            await asyncio.wait_for(tried.wait(), LIMIT_S)
        for _ in range(5):
            assert 5 == await apply(calls())
        assert {"old.local"} == set(callers.names)
        authority.files(tmp_path / "client", "new.local")
        await until_named(calls, callers, "new.local")


@both
async def test_connection_that_cannot_be_opened_is_tried_again(
    opened: Open, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it was: calls go on over the old one, and the new certificate is shown as soon as it can be."""
    callers, files = Callers(), authority.files(tmp_path / "client", "old.local")
    async with (
        ready(callers, authority.files(tmp_path, *LOOPBACK)) as serving,
        opened(serving.address, files) as calls,
    ):
        await until_named(calls, callers, "old.local")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Identity, "channel_credentials", _failing)
            authority.files(tmp_path / "client", "new.local")
            await eventually(lambda: "a connection with the new certificate could not be opened" in caplog.messages)
        assert 5 == await apply(calls())
        await until_named(calls, callers, "new.local")


def _failing(identity: Identity) -> Any:
    raise RuntimeError("of a kind that nobody has thought of")


def _noting(call: Callable[[Identity], Any], tried: asyncio.Event) -> Callable[[Identity], Any]:
    def noted(identity: Identity) -> Any:
        tried.set()
        return call(identity)

    return noted


async def test_authority_is_replaced_step_by_step(tmp_path: Path) -> None:
    """First all trust both, then each shows a certificate of the new one, then nobody trusts the old one any more."""
    old, new, callers = Authority("old"), Authority("new"), Callers()
    own, theirs = tmp_path / "server", tmp_path / "client"
    trusted = old.cert + new.cert
    async with (
        ready(callers, old.files(own, *LOOPBACK)) as serving,
        stub(serving.address, old.files(theirs, "first.local")) as calls,
    ):
        await until_named(calls, callers, "first.local")
        old.issue(*LOOPBACK).write(own, trusted)
        old.issue("second.local").write(theirs, trusted)
        await until_named(calls, callers, "second.local")
        new.issue("third.local").write(theirs, trusted)
        new.issue(*LOOPBACK).write(own, trusted)
        await until_named(calls, callers, "third.local")
        new.issue(*LOOPBACK).write(own, new.cert)
        new.issue("fourth.local").write(theirs, new.cert)
        await until_named(calls, callers, "fourth.local")
        with pytest.raises(ssl.SSLError):
            await shown(serving.address, old.files(tmp_path / "late", "late.local"))


async def test_half_of_a_new_certificate_is_not_used(authority: Authority, tmp_path: Path) -> None:
    """Between the replacement of one file and that of the other the old ones hold, also for who connects then."""
    callers, client = Callers(), authority.files(tmp_path / "client", "a.local")
    files, leaf = authority.files(tmp_path, *LOOPBACK), authority.issue(*LOOPBACK, "new.local")
    async with ready(callers, files) as serving, open_identity(files) as identity:
        assert identity is not None
        files.cert.write_bytes(leaf.cert)
        await eventually(lambda: "not the key" in identity.refused)
        assert set(LOOPBACK) == await shown(serving.address, client)
        files.key.write_bytes(leaf.key)
        await until_shown(serving.address, client, {*LOOPBACK, "new.local"})
        await eventually(lambda: "new.local" in identity.current.names)
        assert "" == identity.refused


async def test_files_that_are_gone_are_as_good_as_they_were(authority: Authority, tmp_path: Path) -> None:
    """The certificate in use stays, and the next one is found when it comes."""
    files = authority.files(tmp_path, "a.local")
    async with open_identity(files) as identity:
        assert identity is not None
        files.cert.unlink()
        await eventually(lambda: "No such file" in identity.refused)
        assert ("a.local",) == identity.current.names
        authority.files(tmp_path, "b.local")
        await eventually(lambda: identity.current.names == ("b.local",))


async def test_files_that_a_pod_mounts_are_followed(authority: Authority, tmp_path: Path) -> None:
    """Kubernetes turns one link to another directory, and all files are new at once."""
    authority.files(tmp_path / "one", "one.local")
    authority.files(tmp_path / "two", "two.local")
    (tmp_path / "data").symlink_to("one")
    files = TlsFiles(*(tmp_path / "data" / name for name in ("cert.pem", "key.pem", "ca.pem")))
    async with open_identity(files) as identity:
        assert identity is not None
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "data")
        await eventually(lambda: identity.current.names == ("two.local",))
        assert "" == identity.refused


@pytest.mark.parametrize(("since", "until", "complaint"), [(-2, -1, "has ended"), (1, 2, "does not hold before")])
async def test_certificate_out_of_its_time_is_not_used(
    authority: Authority, tmp_path: Path, since: int, until: int, complaint: str
) -> None:
    """The one before is, as long as it holds."""
    files = authority.files(tmp_path, "a.local")
    async with open_identity(files) as identity:
        assert identity is not None
        authority.issue("b.local", since=since * DAY, until=until * DAY).write(tmp_path, authority.cert)
        await eventually(lambda: complaint in identity.refused)
        assert ("a.local",) == identity.current.names
        authority.files(tmp_path, "c.local")
        await eventually(lambda: identity.current.names == ("c.local",))
        assert "" == identity.refused


async def test_certificate_that_comes_early_is_used_in_its_time(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of its authority may be ahead; nobody writes the files once more."""
    files = authority.files(tmp_path, "a.local")
    async with open_identity(files) as identity:
        assert identity is not None
        authority.issue("b.local", since=DAY, until=2 * DAY).write(tmp_path, authority.cert)
        await eventually(lambda: bool(identity.refused))
        monkeypatch.setattr(Material, "early", False)
        await eventually(lambda: identity.current.names == ("b.local",))
        assert "" == identity.refused


async def test_process_starts_with_a_certificate_that_has_ended(authority: Authority, tmp_path: Path) -> None:
    """There is none to go on with; the next one is taken, and the authorities beside it are."""
    leaf, notes = authority.issue("a.local", since=-2 * DAY, until=-DAY), 0

    def note(_: Identity) -> None:
        nonlocal notes
        notes += 1

    async with open_identity(leaf.write(tmp_path, authority.cert), note) as identity:
        assert identity is not None
        trusted = authority.cert + Authority("new").cert
        leaf.write(tmp_path, trusted)
        await eventually(lambda: identity.current.ca == trusted)
        assert (("a.local",), "") == (identity.current.names, identity.refused)
        assert 2 == notes


async def test_change_while_a_process_starts_is_not_missed(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first reading of the files and the first look at whether they change."""
    files = authority.files(tmp_path, "a.local")

    def read_before_a_change(files: TlsFiles) -> Material:
        material = read(files)
        monkeypatch.undo()
        authority.files(tmp_path, "b.local")
        return material

    monkeypatch.setattr(identities, "read", read_before_a_change)
    async with open_identity(files) as identity:
        assert identity is not None
        assert ("a.local",) == identity.current.names
        await eventually(lambda: identity.current.names == ("b.local",))


async def test_service_tells_of_its_certificate(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When it began and ends, and what could not be used: in metrics, in the status, and in the log when little is left."""
    files = authority.issue("a.local", since=-DAY, until=DAY / 4).write(tmp_path, authority.cert)

    def value(name: str) -> float | None:
        return REGISTRY.get_sample_value(f"predictmesh_certificate_{name}", {"service": "told"})

    async with open_told_identity(files, "told") as identity:
        assert identity is not None
        assert read(files).not_after.timestamp() == value("not_after_timestamp_seconds")
        assert read(files).not_before.timestamp() == value("not_before_timestamp_seconds")
        assert ["a.local"] == certificate_status(identity)["names"]
        await eventually(lambda: "the certificate ends soon" in caplog.messages)
        files.cert.write_bytes(b"")
        await eventually(lambda: value("reload_failures_total") == 1)
        assert "no certificate in PEM" in str(certificate_status(identity)["refused"])
        authority.issue("b.local", until=DAY).write(tmp_path, authority.cert)
        await eventually(lambda: value("not_after_timestamp_seconds") == read(files).not_after.timestamp())
        assert {"names", "until"} == set(certificate_status(identity))
    assert 1 == value("reload_failures_total")
