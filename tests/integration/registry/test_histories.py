"""Whatever happens to the definitions, and however the registry restarts: every reader ends at the log's state."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.registry.v1.endpoint_pb2 import Endpoint as EndpointMessage
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.model_pb2 import Model
from predictmesh.registry.v1.release_pb2 import Release
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.mesh.errors import MeshError, UpstreamUnavailable
from services.mesh.interceptors import server_chain
from services.mesh.lifecycle import Service
from services.mesh.local import LocalStub
from services.mesh.snapshots import SnapshotReader
from services.mesh.telemetry.tracing import open_tracing
from services.registry.catalog import Catalog
from services.registry.changes import decode
from services.registry.convert import decode_event, encode
from services.registry.definitions import Endpoint, Fallback, Route, StaticAnswer, WeightedVersion
from services.registry.server import build
from tests.integration.registry.conftest import fill
from tests.support import registry as support
from tests.support.definitions import column, endpoint, field, model, spec, version, view
from tests.support.waiting import eventually

NUMBERS = ["1.0.0", "1.1.0", "2.0.0"]
NAMES = ["churn", "other"]

Step = tuple[str, *tuple[Any, ...]]
"""What is done, by the name of a method of `World`, and with which arguments."""


class World:
    """A registry in `directory` that can be restarted, and readers of it; a registry is what they see of it, too."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # No signs of life, which would repair a change that was missed.
        self._settings = support.settings(directory, heartbeat_s=3600)
        self._chain = server_chain(open_tracing("registry", endpoint="", sample_ratio=0), max_in_flight=100)
        self._readers = AsyncExitStack()
        self._running = AsyncExitStack()
        self._service: Service | None = None
        self.client: support.Client
        self.seen: list[tuple[SnapshotReader, list[Snapshot]]] = []

    async def __aenter__(self) -> World:
        await self._start()
        await fill(self.client)
        for number in NUMBERS[1:]:
            await self.register(number)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._readers.aclose()
        await self._stop()

    async def perform(self, step: Step) -> None:
        """Do it; what the registry refuses has not happened."""
        name, *arguments = step
        with suppress(MeshError):
            await getattr(self, name)(*arguments)

    async def apply(self, resource: Any) -> None:
        await self.client.apply(resource)

    async def register(self, number: str, output: str = "y") -> None:
        """One with another output can neither stand in for the others nor have their static answers."""
        signature = replace(version().signature, outputs=(spec(output),))
        await self.client.register(version(number, signature=signature))

    async def delete(self, target: dict[str, Any]) -> None:
        await self.client.stub.Delete(pb.DeleteRequest(**target))

    async def start(self, endpoint: str, candidate: str) -> None:
        """A release whose version need not have passed any gate."""
        request = release_pb.StartReleaseRequest(endpoint=endpoint, candidate=candidate, force=True, reason="a test")
        await self.client.releases.StartRelease(request)

    async def hold(self, endpoint: str) -> None:
        await self.client.releases.HoldRelease(release_pb.HoldReleaseRequest(endpoint=endpoint))

    async def resume(self, endpoint: str) -> None:
        await self.client.releases.ResumeRelease(release_pb.ResumeReleaseRequest(endpoint=endpoint))

    async def promote(self, endpoint: str) -> None:
        await self.client.releases.Promote(release_pb.PromoteRequest(endpoint=endpoint, force=True, reason="a test"))

    async def roll_back(self, endpoint: str) -> None:
        await self.client.releases.Rollback(release_pb.RollbackRequest(endpoint=endpoint))

    async def watch(self) -> None:
        """One more reader."""
        # Writing what it has takes a reader some time, in which more may come.
        cache = self._directory / f"reader-{len(self.seen)}"
        reader = SnapshotReader(self, subscriber="test", objects=None, cache=cache)  # type: ignore[arg-type]
        seen: list[Snapshot] = []
        reader.subscribe(seen.append)
        self.seen.append((reader, seen))
        await self._readers.enter_async_context(reader)

    async def restart(self) -> None:
        await self._stop()
        await self._start()

    async def WatchSnapshot(self, request: pb.WatchSnapshotRequest) -> AsyncIterator[pb.WatchSnapshotResponse]:
        """A reader's call to the registry that is there."""
        if self._service is None:
            raise UpstreamUnavailable("the registry is down")
        async for response in self.client.stub.WatchSnapshot(request):
            yield response

    async def _start(self) -> None:
        self._service = await self._running.enter_async_context(build(self._settings))
        self.client = support.Client(*(LocalStub(each, self._chain) for each in self._service.servicers))

    async def _stop(self) -> None:
        assert self._service is not None
        service, self._service = self._service, None
        service.drain()
        await self._running.aclose()


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Endpoints that lead and fall back to versions in each way, which may not be there."""
    halves = tuple(WeightedVersion(number, 50) for number in NUMBERS[:2])
    routes = [Route(version=number) for number in NUMBERS]
    routes += [Route(alias="champion"), Route(range="1.x"), Route(weights=halves)]
    answer = Fallback(answer=StaticAnswer((column("y", doubles=(1 / 3,)),)))
    fallbacks = [Fallback(version=selector) for selector in (*NUMBERS, "champion", "1.x", "2.x")]
    ladders = st.lists(st.sampled_from([*fallbacks, Fallback(last_answer_max_age_ms=60_000), answer]), max_size=3)
    return st.builds(
        lambda name, route, ladder: endpoint(name, route=route, fallbacks=tuple(ladder)),
        st.sampled_from(NAMES),
        st.sampled_from(routes),
        st.one_of(st.just([]), ladders),
    )


def steps() -> st.SearchStrategy[Step]:
    """Changes of every kind, often refused, among readers that come and a registry that goes."""
    number, name, text = st.sampled_from(NUMBERS), st.sampled_from(NAMES), st.sampled_from(["", "a", "b"])
    views = st.builds(lambda name, text: view(name, description=text), st.sampled_from(["rider_stats", "spare"]), text)
    wider = view(fields=(*view().fields, field("late")))
    models = st.one_of(name.map(model), st.builds(lambda to: model(champion=to), number))
    targets = st.one_of(
        st.sampled_from(["rider_stats", "spare"]).map(lambda each: {"feature_view": each}),
        name.map(lambda each: {"model": each}),
        name.map(lambda each: {"endpoint": each}),
        number.map(lambda each: {"version": pb.VersionName(model="churn", version=each)}),
    )
    kinds: list[st.SearchStrategy[Step]] = [
        st.one_of(views, st.just(wider), models, endpoints()).map(lambda each: ("apply", each)),
        st.tuples(st.just("register"), number, st.sampled_from(["y", "z"])),
        st.tuples(st.just("start"), name, number),
        name.map(lambda each: ("start", each, "1.1.0")),
        st.tuples(st.sampled_from(["hold", "resume", "promote", "roll_back"]), name),
        targets.map(lambda each: ("delete", each)),
        st.just(("watch",)),
        st.just(("restart",)),
    ]
    return st.one_of(kinds)


async def log_states(client: support.Client) -> dict[int, Snapshot]:
    """What the log amounts to at each revision: its events, one after the other."""
    log_id = (await client.snapshot()).log_id
    catalog = Catalog()
    states = {0: shown(catalog, revision=0, log_id=log_id)}
    for event in await client.events():
        catalog = catalog.after(decode(decode_event(pb.ImportEventsRequest(event=event))))
        states[event.revision] = shown(catalog, revision=event.revision, log_id=log_id)
    return states


def shown(catalog: Catalog, **parts: Any) -> Snapshot:
    """All definitions as one message, made in one go."""
    return Snapshot(
        feature_views=[encode(each, FeatureView()) for each in catalog.views.values()],
        models=[encode(each, Model()) for each in catalog.models.values()],
        endpoints=[encode(each, EndpointMessage()) for each in catalog.endpoints.values()],
        releases=[encode(each, Release()) for each in catalog.releases.values()],
        **parts,
    )


def untimed(snapshot: Snapshot) -> Snapshot:
    """A copy without the time at which it was made."""
    copy = Snapshot()
    copy.CopyFrom(snapshot)
    copy.ClearField("create_time")
    return copy


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(st.lists(steps(), min_size=1, max_size=4), min_size=4, max_size=20))
async def test_every_reader_ends_at_the_state_of_the_log(history: Sequence[Sequence[Step]]) -> None:
    """Each snapshot that it was sent was the log's state at that revision, each newer than the one before.

    Steps of one list are done at once. A registry that is made from the log's copy is the same, too.
    """
    with tempfile.TemporaryDirectory() as directory:
        async with World(Path(directory) / "one") as world:
            await world.watch()
            for together in history:
                restarts = [step for step in together if step == ("restart",)]
                await asyncio.gather(*(world.perform(step) for step in together if step != ("restart",)))
                if restarts:
                    await world.restart()
            # While a reader is busy with one, the last comes.
            await asyncio.gather(*(world.apply(view("spare", description=str(number))) for number in range(5)))
            states = await log_states(world.client)
            last = max(states)
            for reader, seen in world.seen:
                await reached(reader, last)
                numbers = [each.revision for each in seen]
                assert sorted(set(numbers)) == numbers
                assert [states[number] for number in numbers] == [untimed(each) for each in seen]
            assert states[last] == await world.client.snapshot()
            events = await world.client.events()
            async with support.registry(Path(directory) / "copy") as copy:
                await copy.load(events)
                assert renamed(states[last]) == renamed(await copy.snapshot())


async def reached(reader: SnapshotReader, revision: int) -> None:
    """Wait until the reader has it."""
    await eventually(lambda: reader.current is not None and reader.current.revision == revision)


def renamed(snapshot: Snapshot) -> Snapshot:
    """Without the log's identity, which a copy does not share."""
    snapshot.ClearField("log_id")
    return snapshot
