"""Memory: of a feature row in the store, of an endpoint in a gateway, of a version in the model service; and CPU of a read."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil
from redis import Redis

from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.features.codec import RowLayout
from services.features.keys import encoder
from services.features.stores.opening import StoreOptions, open_store
from services.features.views import DataType, Entity, Field, KeyColumn, KeyType
from services.gateway.convert_snapshot import TableBuilder
from tests.bench.release.definitions import VERSIONS, catalog
from tests.bench.release.scale import snapshot_of
from tests.bench.workload import make
from tests.support.valkey import valkey

ROWS, BATCH = 100_000, 1_000
# As a gateway asks for 32 predictions of three entities at once.
READ, READS = 96, 2_000
ENDPOINTS, SESSIONS = 200, 200
WIDTHS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Footprint:
    """Bytes, and microseconds of the store's CPU for each row read. `row_bytes` are by how many FP32 a row has."""

    row_bytes: dict[int, float]
    read_us: float
    endpoint_bytes: float
    endpoint_versions: int
    version_bytes: float
    version_artifact_bytes: int


def measure() -> Footprint:
    """Measure all of it. The machine may be busy: neither memory nor CPU time depends on that much."""
    stored = {width: asyncio.run(_stored(width)) for width in WIDTHS}
    artifact, version = _of_process(_versions)
    _, endpoint = _of_process(_endpoints)
    return Footprint(
        {width: size for width, (size, _) in stored.items()},
        stored[4][1],
        endpoint,
        VERSIONS,
        version,
        int(artifact),
    )


async def _stored(width: int) -> tuple[float, float]:
    keys, row = _keys(), _row(width)
    with valkey() as server, server.client() as client:
        empty = _memory(client)
        async with open_store(server.url, StoreOptions()) as store:
            for start in range(0, ROWS, BATCH):
                await store.put_many(keys[start : start + BATCH], [row] * BATCH, 0)
            size = (_memory(client) - empty) / ROWS
            before = _cpu_s(client)
            for number in range(READS):
                await store.get_many([keys[(number * READ + each * 7919) % ROWS] for each in range(READ)])
            return size, (_cpu_s(client) - before) / (READS * READ) * 1e6


def _keys() -> list[bytes]:
    encode = encoder(Entity("rider", (KeyColumn("rider", KeyType.STRING),)))
    return [encode(f"rider-{number:012}") + b"rider_rides" for number in range(ROWS)]


def _row(width: int) -> bytes:
    fields = [Field(f"f{number}", DataType.FP32, 1) for number in range(width)]
    return np.random.default_rng(7).bytes(RowLayout(1, fields).width)


def _memory(client: Redis) -> int:
    return int(_info(client, "memory")["used_memory"])


def _cpu_s(client: Redis) -> float:
    found = _info(client, "cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _info(client: Redis, section: str) -> dict[str, Any]:
    found: dict[str, Any] = client.info(section)
    return found


def _of_process(grown: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """Measure in a process of its own, whose memory nothing else has grown."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(grown)


def _endpoints() -> tuple[float, float]:
    def table(endpoints: int) -> object:
        # The gateway keeps the snapshot too, as it was sent.
        snapshot = Snapshot.FromString(data[endpoints])
        return snapshot, TableBuilder().build(snapshot)

    data = {count: snapshot_of(catalog(count)) for count in (1, ENDPOINTS)}
    kept = [table(1)]
    before = _rss()
    kept.append(table(ENDPOINTS))
    return len(kept), (_rss() - before) / ENDPOINTS


def _versions() -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as directory:
        make(Path(directory))
        model = Path(directory, "model.onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        sessions = [ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])]
        before = _rss()
        for _ in range(SESSIONS):
            sessions.append(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
            sessions[-1].run(
                None, {each.name: np.zeros((256, *each.shape[1:]), np.float32) for each in sessions[-1].get_inputs()}
            )
        return model.stat().st_size, (_rss() - before) / SESSIONS


def _rss() -> int:
    return int(psutil.Process().memory_info().rss)
