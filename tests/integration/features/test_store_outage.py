"""A feature service whose store hangs, dies and comes back: reads are answered all the time, and say by what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from redis.crc import key_slot

from predictmesh.features.v1 import features_service_pb2 as pb
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.features import degrading
from services.features.keys import encoder
from services.features.settings import Settings
from services.features.views import Entity, KeyColumn, KeyType
from services.mesh.errors import Code, MeshError, Reason
from tests.support.feature_service import RunningFeatures, feature_service
from tests.support.feature_views import NOON_US, SECOND_US, batch, columns, field, plan, query, view
from tests.support.valkey import Valkey, free_port, sentinel, valkey, valkey_cluster
from tests.support.waiting import eventually

AIRCRAFT = view("aircraft", [field("late", "FP32", Tensor(floats=[0.5]))], entity="tail", keys={"tail": "STRING"})
LATE = plan({"aircraft": 1}, {"x": ("FP32", ["aircraft:late"])})
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
TAILS = [f"N{number}" for number in range(30)]
# Enough for a store that is well on a machine with much else to do; a store that hangs costs a few of them.
STORE_TIMEOUT_S = 2.0
LATE_MS = 600
TIMEOUT_S = 20.0


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have reads wait for the store's timeout, since here even a store that is well may take long."""
    monkeypatch.setattr(degrading, "LEAST_PATIENCE_S", 2 * STORE_TIMEOUT_S)


@dataclass
class Answer:
    """Values by row, and the rows that the store did not answer for."""

    late: list[float]
    unreached: list[int]


async def read(features: RunningFeatures, *tails: str) -> Answer:
    """Read some tails a second after noon."""
    request = query(LATE, {"tail": tails}, NOON_US + SECOND_US)
    response = await features.stub.GetFeatures(request, timeout=TIMEOUT_S)
    values = np.frombuffer(response.tensors[0], "<f4").tolist()
    rows = [list(each.rows) or list(range(len(tails))) for each in response.unreached]
    ages = [-(2**63) if value == 0.5 else SECOND_US for value in values]
    assert ages == np.frombuffer(response.ages_us, "<i8").tolist(), "ages are those of the values"
    return Answer(values, rows[0] if rows else [])


async def write(features: RunningFeatures, value: float, *tails: str) -> None:
    """Write a value for some tails."""
    rows = batch("aircraft", {"tail": tails}, {"late": [value] * len(tails)}, NOON_US)
    await features.stub.WriteFeatures(pb.WriteFeaturesRequest(batch=rows), timeout=TIMEOUT_S)


async def until_whole(features: RunningFeatures, *tails: str) -> Answer:
    """Read until the store has answered for every row."""
    async for answer in _answers(features, *tails):
        if not answer.unreached:
            return answer
    raise AssertionError("unreachable")


async def _answers(features: RunningFeatures, *tails: str) -> AsyncIterator[Answer]:
    await eventually(lambda: not features.service.status()["store_away"], within_s=30)
    while True:
        yield await read(features, *tails)


async def until_away(features: RunningFeatures, *tails: str) -> None:
    """Read until the store is not asked any more; every read is answered."""
    for _ in range(100):
        assert (await read(features, *tails)).unreached
        if features.service.status()["store_away"]:
            return
    raise AssertionError("the store is asked for ever")


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Valkey]]:
    """A cluster that goes on serving what it has while a node is away."""
    with valkey_cluster(3, "--cluster-require-full-coverage", "no", *DURABLE) as opened:
        yield opened


@contextmanager
def _server(kind: str) -> Iterator[tuple[Valkey, str]]:
    with ExitStack() as stack:
        server = stack.enter_context(valkey(*DURABLE, port=free_port()))
        if kind == "sentinel":
            watcher = stack.enter_context(sentinel(server, "primary"))
            yield server, f"redis+sentinel://127.0.0.1:{watcher.port}/primary"
        else:
            yield server, server.url


@asynccontextmanager
async def _features(directory: Path, url: str) -> AsyncIterator[RunningFeatures]:
    async with feature_service(
        directory, url, AIRCRAFT, over_wire=True, store_timeout_ms=int(STORE_TIMEOUT_S * 1000)
    ) as running:
        await write(running, 7, *TAILS)
        assert Answer([7.0] * 2, []) == await read(running, "N1", "N2")
        yield running


@pytest.mark.parametrize("kind", ["standalone", "sentinel"])
async def test_the_store_is_killed_and_comes_back(tmp_path: Path, kind: str) -> None:
    """What was read is served, what was not gets its default; nothing acknowledged is lost, and writes fail meanwhile."""
    with _server(kind) as (server, url):
        async with _features(tmp_path, url) as features:
            await write(features, 8, "N1")
            server.kill()
            assert Answer([8.0, 7.0, 0.5], [0, 1, 2]) == await read(features, "N1", "N2", "new")
            with pytest.raises(MeshError) as refused:
                await write(features, 9, "N1")
            assert (Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE) == (refused.value.code, refused.value.reason)
            await until_away(features, "N1", "N2")

            server.start()
            answer = await until_whole(features, *TAILS)
            assert [8.0 if tail == "N1" else 7.0 for tail in TAILS] == answer.late


async def test_the_store_hangs_and_goes_on(tmp_path: Path) -> None:
    """Every read is answered; after some the store is not waited for, and no caller finds it back."""
    with _server("standalone") as (server, url):
        async with _features(tmp_path, url) as features:
            with server.hanging():
                await until_away(features, "N1", "N2")
                for _ in range(20):
                    assert Answer([7.0, 0.5], [0, 1]) == await read(features, "N1", "new")
            assert Answer([7.0] * len(TAILS), []) == await until_whole(features, *TAILS)


async def test_a_slow_store_is_waited_for(tmp_path: Path) -> None:
    """As long as there is time, its own answer is better than what is remembered."""
    with _server("standalone") as (server, url):
        async with _features(tmp_path, url) as features:
            with server.client() as client:
                client.execute_command("CLIENT", "PAUSE", int(STORE_TIMEOUT_S * 100), "ALL")
            assert Answer([7.0] * 2, []) == await read(features, "N1", "N2")


@pytest.mark.parametrize("kind", ["standalone", "sentinel", "cluster"])
async def test_more_reads_than_connections(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """They wait for one another. A store that is well and answers late is not held to be away for that."""
    with ExitStack() as stack:
        if kind == "cluster":
            servers = request.getfixturevalue("nodes")
            url = servers[0].url
        else:
            server, url = stack.enter_context(_server(kind))
            servers = [server]
        async with _features(tmp_path, url) as features:
            for each in servers:
                with each.client() as client:
                    client.execute_command("CLIENT", "PAUSE", LATE_MS, "ALL")
            reads = 2 * Settings.model_fields["store_connections"].default + 10
            answers = await asyncio.gather(*(read(features, "N1", "N2") for _ in range(reads)))
            assert [Answer([7.0] * 2, [])] * reads == answers
            assert [] == features.service.status()["store_away"]


async def test_deleted_rows_are_not_remembered(tmp_path: Path) -> None:
    """What this process has deleted is not served by it while the store is away."""
    with _server("standalone") as (server, url):
        async with _features(tmp_path, url) as features:
            request = pb.DeleteEntityRequest(entity="tail", keys=columns({"tail": ["N1"]}))
            await features.stub.DeleteEntity(request, timeout=TIMEOUT_S)
            server.kill()
            response = await features.stub.GetFeatures(query(LATE, {"tail": ["N1", "N2"]}), timeout=TIMEOUT_S)
            assert [0.5, 7.0] == np.frombuffer(response.tensors[0], "<f4").tolist()


@pytest.mark.parametrize("fault", ["kill", "hang"])
async def test_one_node_of_a_cluster_is_lost(tmp_path: Path, nodes: list[Valkey], fault: str) -> None:
    """Its rows are remembered, those of the others come from the store; all do when it is back."""
    async with _features(tmp_path, nodes[0].url) as features:
        await read(features, *TAILS)
        lost = nodes[2]
        own = [row for row, tail in enumerate(TAILS) if _slot(tail) >= 16_384 * 2 // 3]
        assert 0 < len(own) < len(TAILS)
        with ExitStack() as stack:
            if fault == "kill":
                lost.kill()
                stack.callback(lost.start)
            else:
                stack.enter_context(lost.hanging())
            await until_away(features, *TAILS)
            name = f"127.0.0.1:{lost.port}"
            await eventually(lambda: features.service.status()["store_away"] == [name], within_s=30)
            others = [tail for row, tail in enumerate(TAILS) if row not in own]
            await write(features, 9, *others)
            expected = [7.0 if row in own else 9.0 for row in range(len(TAILS))]
            assert Answer(expected, own) == await read(features, *TAILS)
        assert Answer(expected, []) == await until_whole(features, *TAILS)


def _slot(tail: str) -> int:
    key = encoder(Entity("tail", (KeyColumn("tail", KeyType.STRING),)))(tail)
    return key_slot(key + b"aircraft")
