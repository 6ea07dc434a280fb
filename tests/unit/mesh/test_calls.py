"""A call behaves alike over gRPC, over a stream of calls, and in process: results, errors, deadlines, cancellation, limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import pytest

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.context import current
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, InvalidArgument, MeshError, Reason
from tests.support.probe import Probe, World, calling, new_probe

CAUSE = "the cause, which stays in the log"


@pytest.fixture
def probe() -> Probe:
    """The servicer that is called."""
    return new_probe()


@pytest.fixture(params=["grpc", "exchange", "local"])
def world(request: pytest.FixtureRequest) -> World:
    """How the servicer is called."""
    chosen: World = request.param
    return chosen


@pytest.fixture
async def stub(world: World, probe: Probe) -> AsyncIterator[Any]:
    """The calls."""
    async with calling(world, probe) as stub:
        yield stub


async def each(messages: Iterable[Any]) -> AsyncIterator[Any]:
    """Send messages as a stream."""
    for message in messages:
        yield message


def parts(count: int) -> AsyncIterator[Any]:
    """Send an artifact of `count` bytes."""
    return each(registry_pb.UploadArtifactRequest(chunk=b"x") for _ in range(count))


async def unary(stub: Any, **options: Any) -> Any:
    """Make a call with one request and one response; its result is 5."""
    return (await stub.Apply(registry_pb.ApplyRequest(expected_revision=4), **options)).revision


async def client_stream(stub: Any, **options: Any) -> Any:
    """Make a call with a stream of requests; its result is 5."""
    return (await stub.UploadArtifact(parts(5), **options)).size_bytes


async def server_stream(stub: Any, **options: Any) -> Any:
    """Make a call with a stream of responses; its result is 5 of them."""
    request = registry_pb.WatchSnapshotRequest(known_revision=5)
    revisions = [response.revision async for response in stub.WatchSnapshot(request, **options)]
    assert list(range(5)) == revisions
    return len(revisions)


async def bidi(stub: Any, **options: Any) -> Any:
    """Make a call with streams of both; its result is 5, the last number."""
    requests = each(features_pb.StreamFeaturesRequest(sequence=number) for number in range(1, 6))
    answers = [answer.acknowledged_sequence async for answer in stub.StreamFeatures(requests, **options)]
    assert list(range(1, 6)) == answers
    return answers[-1]


Call = Callable[..., Coroutine[Any, Any, Any]]
each_kind = pytest.mark.parametrize("call", [unary, client_stream, server_stream, bidi])
streams = pytest.mark.parametrize("call", [server_stream, bidi])


@each_kind
async def test_result(stub: Any, call: Call) -> None:
    """What the handler answers arrives, whole and in order, with and without a deadline."""
    assert 5 == await call(stub)
    assert 5 == await call(stub, timeout=30)


@each_kind
async def test_error(stub: Any, probe: Probe, call: Call) -> None:
    """A MeshError of the handler is the caller's, not to be told from one raised here."""

    async def act(request: Any, context: Any) -> None:
        raise InvalidArgument("bad", field="rows", row=3)

    probe.act = act
    with pytest.raises(MeshError) as error:
        await call(stub, timeout=30)
    assert (Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT, "bad", "rows", {"row": "3"}) == (
        error.value.code,
        error.value.reason,
        error.value.message,
        error.value.violations[0].field,
        error.value.metadata,
    )


@each_kind
async def test_error_after_some_messages(stub: Any, world: World, probe: Probe, call: Call) -> None:
    """Calls go on as usual after a failed one."""

    async def act(request: Any, context: Any) -> None:
        raise InvalidArgument("bad")

    probe.act = act
    with pytest.raises(MeshError):
        await call(stub, timeout=30)
    probe.act = new_probe().act
    assert 5 == await call(stub, timeout=30)


@each_kind
async def test_unexpected_exception_is_hidden_and_logged(
    stub: Any, probe: Probe, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets INTERNAL without the text; the log gets the cause."""

    async def act(request: Any, context: Any) -> None:
        raise ValueError(CAUSE)

    probe.act = act
    with caplog.at_level(logging.ERROR), pytest.raises(MeshError) as error:
        await call(stub, timeout=30)
    assert (Code.INTERNAL, Reason.INTERNAL) == (error.value.code, error.value.reason)
    assert CAUSE not in str(error.value)
    assert CAUSE in caplog.text


@each_kind
async def test_foreign_cancellation_is_answered(stub: Any, probe: Probe, call: Call) -> None:
    """A handler whose own future was cancelled answers INTERNAL at once; the caller does not wait for its deadline."""

    async def act(request: Any, context: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    probe.act = act
    async with asyncio.timeout(10):
        with pytest.raises(MeshError) as error:
            await call(stub, timeout=60)
    assert Code.INTERNAL == error.value.code


@each_kind
async def test_deadline_reaches_the_handler(stub: Any, probe: Probe, call: Call) -> None:
    """`timeout` arrives as the time that is left; without one there is no deadline."""
    seen: list[Deadline | None] = []

    async def act(request: Any, context: Any) -> None:
        running = current()
        assert running is not None
        seen.append(running.deadline)

    probe.act = act
    await call(stub, timeout=30)
    await call(stub)
    assert seen[0] is not None
    assert 20 < seen[0].remaining() < 31  # gRPC rounds a timeout up to three digits
    assert seen[1] is None


@each_kind
async def test_deadline_ends_the_call_and_the_handler(stub: Any, probe: Probe, call: Call) -> None:
    """When the time is over the caller gets DEADLINE_EXCEEDED, and the handler is cancelled."""
    ended = asyncio.Event()

    async def act(request: Any, context: Any) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    await call(stub, timeout=30)
    probe.act = act
    with pytest.raises(MeshError) as error:
        await call(stub, timeout=0.5)
    assert (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED) == (error.value.code, error.value.reason)
    async with asyncio.timeout(10):
        await ended.wait()


@each_kind
async def test_deadline_in_the_past(stub: Any, call: Call) -> None:
    """A call without time left is refused."""
    with pytest.raises(MeshError) as error:
        await call(stub, timeout=-1)
    assert (Code.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED) == (error.value.code, error.value.reason)


@each_kind
async def test_cancellation_reaches_the_handler(stub: Any, probe: Probe, call: Call) -> None:
    """A caller that leaves takes the handler with it."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def act(request: Any, context: Any) -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ended.set()
            raise

    probe.act = act
    calling = asyncio.create_task(call(stub, timeout=60))
    async with asyncio.timeout(10):
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await ended.wait()


async def test_leaving_a_stream_ends_its_handler(stub: Any, probe: Probe) -> None:
    """Who takes some responses and closes the stream ends the handler."""
    ended = asyncio.Event()

    async def watch(request: Any, context: Any) -> AsyncIterator[registry_pb.WatchSnapshotResponse]:
        try:
            yield registry_pb.WatchSnapshotResponse(revision=1)
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    probe.watch = watch
    responses = stub.WatchSnapshot(registry_pb.WatchSnapshotRequest(), timeout=60)
    assert 1 == (await anext(responses)).revision
    await responses.aclose()
    async with asyncio.timeout(10):
        await ended.wait()


async def broken(message: Any) -> AsyncIterator[Any]:
    """Send one message, and fail."""
    yield message
    raise OSError(CAUSE)


async def test_failure_of_the_requests_is_the_callers_own(stub: Any) -> None:
    """When the stream of requests raises, the caller gets that error, not a cancellation."""
    with pytest.raises(OSError, match=CAUSE):
        await stub.UploadArtifact(broken(registry_pb.UploadArtifactRequest()), timeout=30)
    with pytest.raises(OSError, match=CAUSE):
        [answer async for answer in stub.StreamFeatures(broken(features_pb.StreamFeaturesRequest()), timeout=30)]


@pytest.mark.parametrize("call", [unary, client_stream])
async def test_calls_beyond_the_bound_are_refused(world: World, probe: Probe, call: Call) -> None:
    """A full server refuses at once and says when to come back; those under way end as usual."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def act(request: Any, context: Any) -> None:
        begun.set()
        await gate.wait()

    probe.act = act
    async with calling(world, probe, max_in_flight=1) as stub:
        under_way = asyncio.create_task(call(stub, timeout=60))
        async with asyncio.timeout(10):
            await begun.wait()
        with pytest.raises(MeshError) as error:
            await call(stub, timeout=60)
        gate.set()
        assert 5 == await under_way
        assert 5 == await call(stub, timeout=60)
    assert (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED) == (error.value.code, error.value.reason)
    assert error.value.retry_after_s is not None
    assert error.value.retry_after_s > 0


async def test_method_that_is_not_written_is_unimplemented(stub: Any) -> None:
    """A method of the proto without a handler says so."""
    with pytest.raises(MeshError) as error:
        await stub.Delete(registry_pb.DeleteRequest(), timeout=30)
    assert Code.UNIMPLEMENTED == error.value.code
