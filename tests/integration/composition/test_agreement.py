"""What the registry takes of graphs, the gateway computes: made at random, most of them almost good."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from predictmesh.registry.v1.graph_pb2 import Graph, Node
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.target import Target
from services.mesh.errors import MeshError
from services.registry.catalog import Catalog, check_catalog
from services.registry.convert import decode
from services.registry.definitions import Endpoint, Route, TensorSpec, Version
from services.registry.definitions import Graph as RegistryGraph
from services.registry.faults import Faults
from services.registry.ledger import Revision
from services.registry.registering import plan_registration
from services.registry.snapshots import Snapshots
from tests.support.graphs import catalog_of_nodes, composed
from tests.worlds.graphs import cascade, ensemble, graph, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Given = dict[str, Sequence[TensorSpec]]
"""The outputs of the nodes so far."""


class Maker:
    """Makes nodes that mostly fit those before them."""

    def __init__(self, seed: int, catalog: Catalog) -> None:
        self._random = random.Random(seed)
        self._versions = [(model.name, version) for model, version in catalog.versions()]
        self._given: Given = {}

    def graph(self) -> Graph:
        """All that nothing takes from is an output."""
        nodes = [self._node(f"n{index}") for index in range(self._random.randint(2, 8))]
        taken = {source for each in nodes for source in _taken(each)}
        ports = [port for name in self._given if name not in taken for port in self._ports(name)]
        return graph(*nodes, **{port.replace(".", "-"): port for port in ports})

    def _node(self, name: str) -> Node:
        kind = self._random.choice(("version", "version", "ensemble", "cascade")) if len(self._given) > 1 else "version"
        if kind == "version":
            return self._version(name)
        first, others = self._alike(whole=kind == "cascade")
        if kind == "ensemble":
            self._given[name] = [self._spec(first)]
            methods = ("MEAN", "MAX") if self._spec(first).data_type.is_float else ("VOTE", "MAX")
            return ensemble(name, self._random.choice(methods), [first, *others[:2]])
        self._given[name] = self._given[first]
        told = f"{first}.{self._given[first][0].name}"
        last = others[0] if others else first
        return cascade(name, (first, self._random.choice((0.6, 1.0, 0.5))), last, **{first: told})

    def _version(self, name: str) -> Node:
        model, version = self._random.choice(self._versions)
        fed = {
            spec.name: port
            for spec in version.signature.inputs
            if self._random.random() < 0.6 and (port := self._port_for(spec))
        }
        self._given[name] = version.signature.outputs
        optional = self._random.random() < 0.2
        row = {spec.name: _row(spec) for spec in version.signature.outputs}
        defaults = row if optional and self._random.random() < 0.7 else {}
        return node(name, f"{model}@{version.version}", fed, optional=optional, defaults=defaults)

    def _port_for(self, spec: TensorSpec) -> str:
        ports = [port for name in self._given for port in self._ports(name)]
        fitting = [port for port in ports if _kind(self._spec(port)) == _kind(spec)]
        return self._random.choice(fitting or ports or [""])

    def _alike(self, *, whole: bool) -> tuple[str, list[str]]:
        """A node, or a port, and others that give the same."""
        names = list(self._given) if whole else [port for name in self._given for port in self._ports(name)]
        self._random.shuffle(names)
        kinds = {name: tuple(map(_kind, self._given[name] if whole else [self._spec(name)])) for name in names}
        counts = Counter(kinds.values())
        first, *others = sorted(names, key=lambda name: -counts[kinds[name]])
        return first, sorted(others, key=lambda name: kinds[name] != kinds[first])

    def _ports(self, name: str) -> Iterator[str]:
        return (f"{name}.{spec.name}" for spec in self._given[name])

    def _spec(self, port: str) -> TensorSpec:
        name, _, output = port.partition(".")
        return next(spec for spec in self._given[name] if spec.name == output)


def _kind(spec: TensorSpec) -> tuple[object, ...]:
    return spec.data_type, spec.shape


def _row(spec: TensorSpec) -> list[object]:
    value: object = 0.5 if spec.data_type.is_float else "a" if spec.data_type == "BYTES" else 1
    return [value] * math.prod(spec.shape)


def _taken(made: Node) -> Iterator[str]:
    yield from (port.node for fed in made.model.inputs for port in fed.sources)
    yield from (member.source.node for member in made.ensemble.members)
    yield from (stage.node for stage in made.cascade.stages)


def computed(catalog: Catalog) -> Target | None:
    """What the gateway makes of the composed version of churn in a catalog."""
    made = catalog.with_endpoint(Endpoint("e", "churn", Route(version="9.0.0")))
    snapshot = Snapshots(1 << 30, lambda: NOW).message(Revision("log", 1, made))
    endpoint = TableBuilder().build(snapshot).endpoints.get("e")
    return endpoint.versions.targets.get("9.0.0") if endpoint else None


def check_taken(catalog: Catalog, version: Version) -> None:
    """It is good from elsewhere, too, and the gateway computes it with the same outputs."""
    faults = Faults()
    check_catalog(catalog, faults)
    faults.check()
    target = computed(catalog)
    assert target
    assert target.graph
    nodes = target.graph.nodes
    given = [nodes[port.node].outputs[port.output] for port in target.graph.outputs]
    assert [(spec.data_type, spec.shape, spec.finite) for spec in version.signature.outputs] == [
        (each.dtype.name, each.shape, each.finite) for each in given
    ]


def places(catalog: Catalog, given: RegistryGraph) -> list[str]:
    """Where the registry finds faults; if it finds none, what it takes has been checked."""
    try:
        registration = plan_registration(catalog, "churn", composed(given), {}, NOW)
    except MeshError as error:
        return [violation.field for violation in error.violations] or [error.message]
    assert registration.event
    check_taken(catalog.after(registration.event), registration.version)
    return []


def test_what_the_registry_takes_the_gateway_computes() -> None:
    """What it does not, it refuses with a place in the graph."""
    catalog, taken = catalog_of_nodes(), set()
    for seed in range(500):
        given = decode(Maker(seed, catalog).graph(), RegistryGraph)
        found = places(catalog, given)
        assert all(place.startswith("version.graph.") for place in found)
        if not found:
            taken |= {kind for each in given.nodes for kind in ("ensemble", "cascade") if getattr(each, kind)}
    assert {"ensemble", "cascade"} == taken
