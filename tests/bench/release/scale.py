"""Many definitions: how large their snapshot is, how soon a change acts, and what routing costs."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

from rich.table import Table

from predictmesh.registry.v1.model_pb2 import TrainingProfile
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.request import Column
from services.gateway.routing import RoutingTable
from services.registry.catalog import Catalog
from services.registry.convert import encode
from services.registry.definitions import Endpoint, Route, WeightedVersion
from services.registry.ledger import Revision
from services.registry.snapshots import Snapshots
from tests.bench.release.definitions import VERSIONS, catalog, endpoint_name, profile
from tests.bench.release.fleet import Change, Cost, fleet
from tests.bench.report import Figure, console

ENDPOINTS = 100
GATEWAYS = 4
# Changes whose CPU is counted, and the time between them, so that gateways skip none.
COUNTED, PAUSE_S = 40, 0.25
ROUTING_ENDPOINTS = (1, 100, 1000)
ROUTED = 10_000

SNAPSHOT_BUDGET_BYTES = 16 * 1024 * 1024
EFFECT_BUDGET_MS = 200
ROUTING_BUDGET_US = 10


@dataclass(frozen=True)
class Size:
    """Bytes of a snapshot, and what they would be with every version's training profile."""

    endpoints: int
    versions: int
    snapshot_bytes: int
    with_profiles_bytes: int


@dataclass(frozen=True)
class Effect:
    """Changes one after the other, in order."""

    gateways: int
    changes: Sequence[Change]
    cost: Cost

    def percentile(self, percent: int) -> float:
        """Milliseconds until all gateways have a change."""
        return quantiles((change.everywhere_ms for change in self.changes), n=100)[percent - 1]


@dataclass(frozen=True)
class Routing:
    """CPU microseconds to find an endpoint by name and choose a version by weight and sticky key; of each repeat."""

    endpoints: int
    us: Sequence[float]


@dataclass(frozen=True)
class Scale:
    """Everything that was measured."""

    size: Size
    effect: Effect
    routing: Sequence[Routing]


def measure(changes: int, repeats: int) -> Scale:
    """Measure all of it, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        effect = asyncio.run(_effect(Path(directory), changes))
    return Scale(_size(), effect, [_routing(endpoints, repeats) for endpoints in ROUTING_ENDPOINTS])


def figures(scale: Scale) -> list[Figure]:
    """What has a budget."""
    size, effect = scale.size, scale.effect
    large = f"{size.endpoints} endpoints x {size.versions} versions"
    return [
        Figure(f"snapshot, {large}", [size.snapshot_bytes / 2**20], "MiB", SNAPSHOT_BUDGET_BYTES / 2**20),
        Figure(f"change to effect in {effect.gateways} gateways, p99", [effect.percentile(99)], "ms", EFFECT_BUDGET_MS),
        *(
            Figure(f"routing among {each.endpoints} endpoints", each.us, "us", ROUTING_BUDGET_US)
            for each in scale.routing
        ),
    ]


def show(scale: Scale) -> None:
    """Print what has none, too."""
    size, effect = scale.size, scale.effect
    table = Table("measure", "measured", title=f"{size.endpoints} endpoints x {size.versions} versions")
    table.add_row("snapshot", f"{size.snapshot_bytes:,} bytes")
    table.add_row("with training profiles it would be", f"{size.with_profiles_bytes:,} bytes")
    table.add_row("change to effect, p50", f"{effect.percentile(50):.1f} ms")
    table.add_row("change answered, median", f"{median(each.answered_ms for each in effect.changes):.1f} ms")
    table.add_row("CPU of a change, registry", f"{effect.cost.registry_ms:.1f} ms")
    table.add_row("CPU of a change, each gateway", f"{effect.cost.gateway_ms:.1f} ms")
    console().print(table)


async def _effect(directory: Path, changes: int) -> Effect:
    async with fleet(directory, ENDPOINTS, GATEWAYS) as running:
        made = [await running.change() for _ in range(changes)]
        return Effect(GATEWAYS, made, await running.cost(COUNTED, PAUSE_S))


def _size() -> Size:
    large = catalog(ENDPOINTS)
    profiled = len(encode(profile(), TrainingProfile()).SerializeToString())
    snapshot_bytes = len(snapshot_of(large))
    return Size(ENDPOINTS, VERSIONS, snapshot_bytes, snapshot_bytes + ENDPOINTS * VERSIONS * profiled)


def _routing(endpoints: int, repeats: int) -> Routing:
    table = TableBuilder().build(Snapshot.FromString(snapshot_of(_split(catalog(endpoints, versions=2)))))
    return Routing(endpoints, [_time_of_one(table, endpoints) for _ in range(repeats)])


def _split(single: Catalog) -> Catalog:
    """Every endpoint with two versions, parted by a sticky key: the longest way through routing."""
    route = Route(weights=(WeightedVersion("1.0.0", 95), WeightedVersion("1.1.0", 5)))
    endpoints: dict[str, Endpoint] = {
        name: replace(each, route=route, sticky_key="key_0") for name, each in single.endpoints.items()
    }
    return replace(single, endpoints=endpoints)


def _time_of_one(table: RoutingTable, endpoints: int) -> float:
    requests = list(itertools.islice(_requests(endpoints), ROUTED))
    start = time.process_time()
    for name, prediction_id, entities in requests:
        table.endpoint(name).choose("", prediction_id, entities)
    return (time.process_time() - start) / ROUTED * 1e6


def _requests(endpoints: int) -> Iterator[tuple[str, str, list[Column]]]:
    for number in itertools.count():
        entities = [Column(f"key_{key}", "strings", [f"user-{number}"]) for key in range(4)]
        yield endpoint_name(number * 7919 % endpoints), f"prediction-{number}", entities


def snapshot_of(definitions: Catalog) -> bytes:
    """Return what readers of these definitions are sent."""
    snapshots = Snapshots(2**62, lambda: datetime.now(UTC))
    return snapshots.data(Revision("bench", 1, definitions))
