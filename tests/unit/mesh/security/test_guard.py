"""Whoever a service does not know, or not for this, is not let in; what the access file says holds from when it says so."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.context import caller_name, current
from services.mesh.errors import Code, MeshError, Reason
from services.mesh.security import guard as guards
from services.mesh.security.access_file import AccessFile, read_access_file
from services.mesh.security.guard import Guard
from services.mesh.security.own_token import OwnToken
from services.mesh.server import MeshServer
from tests.support.access import key, secret, shows, write
from tests.support.issuers import AUDIENCE, ISSUER, Issuer
from tests.support.probe import Probe, new_probe, remote, server
from tests.support.waiting import eventually, eventually_answers

APPLY = "/predictmesh.registry.v1.RegistryService/Apply"
LOOK_EVERY_S = 0.01
KEYS = (
    key("app", "caller"),
    key("ann", "releaser"),
    key("team", "releaser", "writer", "operator", endpoints=["team/*"]),
    key("root", "operator"),
    key("gateway", "service"),
    key("late", "operator", expires=(datetime.now(UTC) - timedelta(seconds=1)).isoformat()),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The access file."""
    return write(tmp_path / "access.yaml", *KEYS)


@pytest.fixture
def probe() -> Probe:
    """The servicer behind the guard; it notes who has called."""
    made = new_probe()
    made.callers = []  # type: ignore[attr-defined]  # for these tests

    async def note(request: Any, context: Any) -> None:
        made.callers.append(caller_name())  # type: ignore[attr-defined]

    made.act = note
    return made


@pytest.fixture
async def guard(file: Path) -> AsyncIterator[Guard]:
    """The guard that goes by the file."""
    made = Guard("probe", file)
    async with made.running(look_every_s=LOOK_EVERY_S):
        yield made


@pytest.fixture
async def serving(probe: Probe, guard: Guard) -> AsyncIterator[MeshServer]:
    """The server that it stands before."""
    async with server(probe, guard=guard) as serving:
        yield serving


@pytest.fixture
async def stub(serving: MeshServer) -> AsyncIterator[Any]:
    """Calls that show nothing by themselves."""
    async with remote(serving.address) as stub:
        yield stub


def apply(*names: str, **more: Any) -> registry_pb.ApplyRequest:
    """Return a request to change endpoints."""
    request = registry_pb.ApplyRequest(**more)
    for name in names:
        request.resources.add().endpoint.name = name
    return request


async def refused(call: Any) -> tuple[Code, Reason, str]:
    """Return why a call is refused: its code, its reason, and the field at fault."""
    with pytest.raises(MeshError) as error:
        await call
    fields = ",".join(violation.field for violation in error.value.violations)
    return error.value.code, error.value.reason, fields


async def test_caller_is_let_in_and_known(stub: Any, probe: Any) -> None:
    """What the call does is done by whose key it shows."""
    await stub.Apply(apply("x"), metadata=shows(secret("ann")))
    assert ["ann"] == probe.callers


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), Reason.MISSING_CREDENTIALS),
        ((("authorization", "Bearer pmk_nobody"),), Reason.INVALID_CREDENTIALS),
        ((("authorization", "Bearer a.b.c"),), Reason.INVALID_CREDENTIALS),
        ((("authorization", "Basic YTpi"),), Reason.INVALID_CREDENTIALS),
        ((("authorization", "Bearer"),), Reason.INVALID_CREDENTIALS),
        ((("authorization", ""),), Reason.INVALID_CREDENTIALS),
        ((("authorization", secret("ann")),), Reason.INVALID_CREDENTIALS),
        (shows(secret("late")), Reason.EXPIRED_CREDENTIALS),
    ],
)
async def test_stranger(stub: Any, probe: Any, metadata: Any, reason: Reason) -> None:
    """Whoever shows nothing, or nothing that is known now, is told how to; and nothing is done."""
    assert (Code.UNAUTHENTICATED, reason, "authorization") == await refused(stub.Apply(apply("x"), metadata=metadata))
    assert [] == probe.callers


async def test_scheme_in_any_case(stub: Any, probe: Any) -> None:
    """`bearer` is as good as `Bearer`."""
    await stub.Apply(apply(), metadata=(("authorization", f"bEARER {secret('ann')}"),))
    assert ["ann"] == probe.callers


@pytest.mark.parametrize("name", ["app", "gateway"])
async def test_role_that_is_not_enough(stub: Any, probe: Any, name: str) -> None:
    """An application changes no definitions, nor does a service."""
    expected = (Code.PERMISSION_DENIED, Reason.MISSING_ROLE, "authorization")
    assert expected == await refused(stub.Apply(apply("x"), metadata=shows(secret(name))))
    assert [] == probe.callers


async def test_force_takes_an_operator(stub: Any, probe: Any) -> None:
    """Who releases may not override what protects callers."""
    expected = (Code.PERMISSION_DENIED, Reason.MISSING_ROLE, "force")
    assert expected == await refused(stub.Apply(apply("x", force=True), metadata=shows(secret("ann"))))
    await stub.Apply(apply("x", force=True), metadata=shows(secret("root")))
    assert ["root"] == probe.callers


async def test_names_of_others(stub: Any, probe: Any) -> None:
    """Who is limited to some names is told which of the request is none of them."""
    await stub.Apply(apply("team/a", "team/b"), metadata=shows(secret("team")))
    expected = (Code.PERMISSION_DENIED, Reason.ENDPOINT_NOT_ALLOWED, "resources[1].endpoint.name")
    assert expected == await refused(stub.Apply(apply("team/a", "other"), metadata=shows(secret("team"))))
    assert ["team"] == probe.callers


async def test_method_about_all_names(stub: Any) -> None:
    """Who is limited to some names does not restore everything."""

    async def events() -> AsyncIterator[registry_pb.ImportEventsRequest]:
        yield registry_pb.ImportEventsRequest()

    expected = (Code.PERMISSION_DENIED, Reason.ENDPOINT_NOT_ALLOWED, "authorization")
    assert expected == await refused(stub.ImportEvents(events(), metadata=shows(secret("team"))))


async def test_method_whose_requests_name_nothing(stub: Any) -> None:
    """Who is limited to some names does not get by it what is of others."""
    with pytest.raises(MeshError) as error:
        await anext(stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), metadata=shows(secret("team"))))
    assert (Reason.ENDPOINT_NOT_ALLOWED, "authorization") == (error.value.reason, error.value.violations[0].field)


async def batches(*views: str) -> AsyncIterator[features_pb.StreamFeaturesRequest]:
    """Write to views, one after the other."""
    for number, view in enumerate(views, 1):
        yield features_pb.StreamFeaturesRequest(sequence=number, batch=features_pb.FeatureBatch(view=view))


async def test_requests_of_a_stream(stub: Any) -> None:
    """Each of them is looked at, and the first that may not be ends it."""
    answers = stub.StreamFeatures(batches("team/a", "team/b", "b"), metadata=shows(secret("team")))
    assert [1, 2] == [(await anext(answers)).acknowledged_sequence for _ in range(2)]
    with pytest.raises(MeshError) as error:
        await anext(answers)
    assert (Reason.ENDPOINT_NOT_ALLOWED, "batch.view") == (error.value.reason, error.value.violations[0].field)


@pytest.mark.parametrize("kind", ["StreamFeatures", "WatchSnapshot"])
async def test_stranger_s_stream(stub: Any, kind: str) -> None:
    """A stream is refused before anything is sent."""
    request = batches("a") if kind == "StreamFeatures" else registry_pb.WatchSnapshotRequest(known_revision=3)
    with pytest.raises(MeshError) as error:
        [each async for each in getattr(stub, kind)(request)]
    assert Reason.MISSING_CREDENTIALS is error.value.reason


async def test_stranger_s_message_is_not_read(serving: MeshServer) -> None:
    """What a call says is of no interest where nobody is known to say it: its reason is not that it cannot be read."""
    async with grpc.aio.insecure_channel(serving.address) as channel:
        apply_: Any = channel.unary_unary(APPLY)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await apply_(b"\xff\xff", metadata=(("x-request-id", "r-1"),))
    assert grpc.StatusCode.UNAUTHENTICATED is error.value.code()
    assert "r-1" == dict(error.value.trailing_metadata() or ())["x-request-id"]


async def test_health_and_reflection_are_open(serving: MeshServer) -> None:
    """Who looks whether a service is well shows nothing."""
    async with grpc.aio.insecure_channel(serving.address) as channel:
        health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert b"" != await health(b"")
        reflection: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert [each async for each in reflection(iter([b"\x3a\x00"]))]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The file of a service's own key."""
    made = tmp_path / "own"
    made.write_text(secret("gateway") + "\n")
    return made


async def test_stream_of_calls_shows_the_key_for_all_of_them(serving: MeshServer, probe: Any, own: Path) -> None:
    """Calls over it are of whom has opened it; what they may do is looked at one by one."""
    async with remote(serving.address, exchange=True, token=OwnToken(own)) as stub:
        expected = (Code.PERMISSION_DENIED, Reason.MISSING_ROLE, "authorization")
        assert expected == await refused(stub.Apply(apply("x")))
        # A call with a key of its own is made by whose key that is.
        await stub.Apply(apply("x"), metadata=shows(secret("ann")))
    assert ["ann"] == probe.callers


@pytest.mark.parametrize("name", ["", "ann", "nobody"])
async def test_stream_of_calls_is_for_services(serving: MeshServer, probe: Any, tmp_path: Path, name: str) -> None:
    """Nobody else opens one."""
    made = tmp_path / "key"
    made.write_text(secret(name))
    async with remote(serving.address, exchange=True, token=OwnToken(made) if name else None) as stub:
        assert Reason.UPSTREAM_UNAVAILABLE is (await refused(stub.Apply(apply("x"))))[1]
    assert [] == probe.callers


async def test_key_is_added_and_withdrawn(stub: Any, file: Path) -> None:
    """What the file says holds soon after it is written, without a restart."""

    async def lets_in(name: str) -> bool:
        try:
            await stub.Apply(apply("x"), metadata=shows(secret(name)))
        except MeshError as error:
            return error.reason is not Reason.INVALID_CREDENTIALS
        return True

    assert not await lets_in("new")
    write(file, key("new", "releaser"))
    await eventually_answers(lambda: lets_in("new"))
    assert not await lets_in("ann")


async def ends_without_the_key(answers: Any, file: Path, guard: Guard, go_on: asyncio.Event) -> None:
    """Withdraw the keys that were shown, let the stream go on, and see that it is refused."""
    write(file, key("ann", "releaser"))
    await guard.reload()
    go_on.set()
    with pytest.raises(MeshError) as error:
        await anext(answers)
    assert Reason.INVALID_CREDENTIALS is error.value.reason


async def test_key_that_is_withdrawn_ends_its_streams(stub: Any, file: Path, guard: Guard) -> None:
    """With the next message that is sent over one."""
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[features_pb.StreamFeaturesRequest]:
        yield features_pb.StreamFeaturesRequest(sequence=1, batch=features_pb.FeatureBatch(view="team/a"))
        await go_on.wait()
        yield features_pb.StreamFeaturesRequest(sequence=2, batch=features_pb.FeatureBatch(view="team/a"))

    answers = stub.StreamFeatures(slowly(), metadata=shows(secret("team")))
    assert 1 == (await anext(answers)).acknowledged_sequence
    await ends_without_the_key(answers, file, guard, go_on)


async def test_key_that_is_withdrawn_is_told_nothing_more(stub: Any, probe: Any, file: Path, guard: Guard) -> None:
    """Also where it only listens: the next message is not sent to it."""
    withdrawn = asyncio.Event()

    async def watch(request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        yield registry_pb.WatchSnapshotResponse(revision=1)
        await withdrawn.wait()
        yield registry_pb.WatchSnapshotResponse(revision=2)

    probe.watch = watch
    answers = stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), metadata=shows(secret("gateway")))
    assert 1 == (await anext(answers)).revision
    await ends_without_the_key(answers, file, guard, withdrawn)


def failures() -> float:
    """Return how many new files could not be used."""
    return REGISTRY.get_sample_value("predictmesh_access_reload_failures_total", {"service": "probe"}) or 0


@pytest.mark.parametrize("text", ["keys: [", "keys: [{name: a}]", None])
async def test_new_file_that_is_broken(
    stub: Any, file: Path, guard: Guard, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    """The old one holds; the log, the status and a metric say so, until the file is mended."""
    before = failures()
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    await guard.reload()
    await stub.Apply(apply("x"), metadata=shows(secret("ann")))
    assert str(file) in str(guard.status()["fault"])
    # It is looked at beside the test, too.
    assert failures() - before >= 1
    assert "the access file cannot be used; the one before holds" in caplog.messages
    write(file, *KEYS)
    await guard.reload()
    assert "fault" not in guard.status()


async def test_status_tells_no_secrets(guard: Guard) -> None:
    """Only how many there are."""
    assert {"keys": len(KEYS), "peers": 0} == guard.status()


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records of the audit."""
    return [record for record in caplog.records if record.name == "predictmesh.audit"]


def refusals(reason: Reason) -> float:
    """Return how many were refused for a reason."""
    labels = {"service": "probe", "reason": reason.value}
    return REGISTRY.get_sample_value("predictmesh_access_refusals_total", labels) or 0


async def test_audit(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is a line that says who wanted what, and not by which key."""
    before = refusals(Reason.MISSING_ROLE)
    await refused(stub.Apply(apply("x"), metadata=(*shows(secret("app")), ("x-request-id", "r-7"))))
    [line] = lines(caplog)
    told: Any = line
    assert (APPLY, "MISSING_ROLE", "app", "r-7") == (told.method, told.reason, told.caller, told.request_id)
    assert told.peer.startswith("ipv4:127.0.0.1:")
    assert key("app", "caller")["sha256"].startswith(told.token_sha256)
    assert secret("app") not in str(vars(line))
    assert 1 == refusals(Reason.MISSING_ROLE) - before


async def test_audit_of_what_a_request_says(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal after the message was read is a line, too."""
    await refused(stub.Apply(apply("other"), metadata=shows(secret("team"))))
    [line] = lines(caplog)
    told: Any = line
    assert ("ENDPOINT_NOT_ALLOWED", "team") == (told.reason, told.caller)


async def test_audit_is_bounded_and_counts_what_it_leaves_out(
    stub: Any, caplog: pytest.LogCaptureFixture, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of strangers fills no disk, and is known for what it was."""
    before = refusals(Reason.MISSING_CREDENTIALS)
    for _ in range(60):
        await refused(stub.Apply(apply()))
    assert 60 == refusals(Reason.MISSING_CREDENTIALS) - before
    written = len(lines(caplog))
    assert written < 60
    monkeypatch.setattr(guard._audit._lines, "left", lambda: 1)
    await refused(stub.Apply(apply()))
    left_out = sum(getattr(line, "left_out", 0) for line in lines(caplog))
    assert 61 == written + 1 + left_out


def issued(issuer: Issuer, file: Path, **settings: Any) -> Path:
    """Write an access file that trusts an issuer."""
    jwks = issuer.publish(file.with_name("jwks.json"))
    return write(file, *KEYS, jwt={"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks} | settings)


async def test_token(stub: Any, probe: Any, file: Path, guard: Guard) -> None:
    """A token does as well as a key, as often as it is shown."""
    issuer = Issuer()
    issuer.add("one")
    issued(issuer, file)
    await guard.reload()
    token = issuer.token(roles=["releaser"])
    for _ in range(3):
        await stub.Apply(apply("x"), metadata=shows(token))
    await stub.Apply(apply("x"), metadata=shows(secret("ann")))
    assert ["ann", "ann", "ann", "ann"] == probe.callers
    assert (ISSUER, 1) == (guard.status()["issuer"], guard.status()["issuer_keys"])
    expected = (Code.PERMISSION_DENIED, Reason.MISSING_ROLE, "authorization")
    assert expected == await refused(stub.Apply(apply("x"), metadata=shows(issuer.token(roles=["caller"]))))
    assert Reason.INVALID_CREDENTIALS is (await refused(stub.Apply(apply(), metadata=shows(f"{token}x"))))[1]


async def test_issuer_that_is_not_trusted_any_more(stub: Any, file: Path, guard: Guard) -> None:
    """Its tokens are forgotten with it."""
    issuer = Issuer()
    issuer.add("one")
    issued(issuer, file)
    await guard.reload()
    token = issuer.token(roles=["releaser"])
    await stub.Apply(apply(), metadata=shows(token))
    write(file, *KEYS)
    await guard.reload()
    assert Reason.INVALID_CREDENTIALS is (await refused(stub.Apply(apply(), metadata=shows(token))))[1]


async def test_issuer_whose_tokens_are_read_otherwise(stub: Any, file: Path, guard: Guard) -> None:
    """What the file says of an issuer now holds for its tokens, also for those that were known."""
    issuer = Issuer()
    issuer.add("one")
    issued(issuer, file)
    await guard.reload()
    token = issuer.token(roles=["releaser"])
    await stub.Apply(apply(), metadata=shows(token))
    issued(issuer, file, audience="another")
    await guard.reload()
    assert Reason.INVALID_CREDENTIALS is (await refused(stub.Apply(apply(), metadata=shows(token))))[1]


async def test_keys_of_the_issuer_are_kept(stub: Any, file: Path, guard: Guard) -> None:
    """Where they are is as before: that tokens are read otherwise is no reason to do without them while it is away."""
    issuer = Issuer()
    issuer.add("one")
    issued(issuer, file)
    await guard.reload()
    await stub.Apply(apply(), metadata=shows(issuer.token(roles=["releaser"])))
    jwks = file.with_name("jwks.json")
    write(file, *KEYS, jwt={"issuer": ISSUER, "audience": "another", "jwks": str(jwks)})
    jwks.unlink()
    await guard.reload()
    await stub.Apply(apply(), metadata=shows(issuer.token(roles=["releaser"], aud="another")))


async def test_calls_do_not_wait_for_the_file(
    stub: Any, file: Path, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be long, or on a disk that is slow."""
    go_on, reading = threading.Event(), threading.Event()

    def slowly(path: Path) -> AccessFile:
        reading.set()
        assert go_on.wait(20)
        return read_access_file(path)

    monkeypatch.setattr(guards, "read_access_file", slowly)
    write(file, key("new", "releaser"))
    await eventually(reading.is_set)
    await stub.Apply(apply("x"), metadata=shows(secret("ann")))
    go_on.set()
    await guard.reload()
    await stub.Apply(apply("x"), metadata=shows(secret("new")))


@pytest.mark.parametrize("asks", [True, False])
async def test_peers_of_a_service_that_asks_for_no_certificates(
    file: Path, caplog: pytest.LogCaptureFixture, asks: bool
) -> None:
    """One file may be that of all services: it is taken, and the log says who is not known by it."""
    guard = Guard("probe", file, asks_certificates=asks)
    write(file, *KEYS, peers=[{"identity": "release.local", "roles": ["releaser"]}])
    await guard.reload()
    assert {"keys": len(KEYS), "peers": 1} == guard.status()
    assert asks is not any("callers are not asked for theirs" in message for message in caplog.messages)


async def test_nobody_is_asked_without_a_guard(probe: Probe) -> None:
    """Without an access file calls are as they were, and no caller is known."""
    seen: list[Any] = []

    async def note(request: Any, context: Any) -> None:
        running = current()
        assert running is not None
        seen.append(running.caller)

    probe.act = note
    async with server(probe) as serving, remote(serving.address) as stub:
        await stub.Apply(apply("x"))
        await stub.Apply(apply("x"), metadata=shows("pmk_nobody"))
    assert [None, None] == seen
