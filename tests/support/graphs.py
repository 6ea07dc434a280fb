"""Graphs of composed versions, said shortly: ports as `node.output`, versions as `model@number`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.registry.catalog import Catalog
from services.registry.definitions import (
    Cascade,
    CascadeStage,
    ConfidenceMeasure,
    DataType,
    Ensemble,
    EnsembleMember,
    EnsembleMethod,
    Graph,
    GraphOutput,
    InputBinding,
    Model,
    ModelNode,
    Node,
    NodeInput,
    Port,
    Signature,
    Tensor,
    TensorSpec,
    Version,
)
from services.registry.faults import Faults
from services.registry.graphs import compose
from services.registry.views import with_schema
from tests.support.definitions import asked, column, spec, stored, version, view


def port(text: str) -> Port:
    """`node.output`, or `node` alone."""
    node, _, output = text.partition(".")
    return Port(node, output)


def node(
    name: str, of: str = "churn@1.0.0", /, *, optional: bool = False, defaults: tuple[Tensor, ...] = (), **inputs: str
) -> Node:
    """A model node; each input's ports stand in one text, with spaces between them."""
    model, _, number = of.partition("@")
    fed = tuple(NodeInput(name, tuple(map(port, ports.split()))) for name, ports in inputs.items())
    return Node(name, model=ModelNode(model, number, fed, optional, defaults))


def ensemble(name: str, *members: str, method: str = "MEAN") -> Node:
    """Members without weights."""
    return Node(name, ensemble=Ensemble(EnsembleMethod(method), tuple(EnsembleMember(port(each)) for each in members)))


def weighted(name: str, weights: Mapping[str, float], method: str = "WEIGHTED_MEAN") -> Node:
    """Members with weights."""
    members = tuple(EnsembleMember(port(member), weight) for member, weight in weights.items())
    return Node(name, ensemble=Ensemble(EnsembleMethod(method), members))


def stage(name: str, threshold: float = 0.8, confidence: str = "", measure: str = "") -> CascadeStage:
    """A stage that is not the last one."""
    return CascadeStage(name, port(confidence) if confidence else None, ConfidenceMeasure(measure), threshold)


def cascade(name: str, *stages: str | CascadeStage) -> Node:
    """Nodes by name have the threshold 0.8; the last has none."""
    *before, last = stages
    made = [each if isinstance(each, CascadeStage) else stage(each) for each in before]
    return Node(name, cascade=Cascade((*made, last if isinstance(last, CascadeStage) else CascadeStage(last))))


def graph(*nodes: Node, **outputs: str) -> Graph:
    """Nodes, and outputs by name."""
    return Graph(nodes, tuple(GraphOutput(name, port(source)) for name, source in outputs.items()))


def composed(made_of: Graph, number: str = "9.0.0", **parts: Any) -> Version:
    """A version as a caller gives it."""
    standard: dict[str, Any] = {
        "signature": Signature((), ()),
        "bindings": (),
        "artifacts": (),
        "metrics": {"auc": 0.8},
    }
    return Version(version=number, graph=made_of, **standard | parts)


def composed_in(catalog: Catalog, made_of: Graph) -> Version:
    """A version with all that follows from its graph; raises what is wrong with it."""
    faults = Faults()
    version = compose(composed(made_of), catalog.models, catalog.views, "version", faults)
    faults.check()
    return replace(version, digest="d9")


def made(number: str, inputs: Mapping[TensorSpec, Any], *outputs: TensorSpec) -> Version:
    """A version of artifacts with each input bound to one source."""
    bindings = tuple(InputBinding(each.name, (source,)) for each, source in inputs.items())
    return version(number, signature=Signature(tuple(inputs), outputs), bindings=bindings, digest=f"d{number}")


def catalog_of_nodes() -> Catalog:
    """Two versions of churn, the second with one more output, and models that take what these give, or others."""
    y, wide = spec("y"), spec("m", shape=(2, 3))
    models = (
        Model("churn", versions=(version(digest="d1"), made("2.0.0", {spec("x"): stored("trips")}, y, spec("z")))),
        Model(
            "post", versions=(made("1.0.0", {spec("p"): asked("p"), spec("q"): asked("q")}, spec("p", finite=True)),)
        ),
        Model("pair", versions=(made("1.0.0", {spec("p", shape=(2,)): asked("both")}, spec("p", shape=(2,))),)),
        Model("wide", versions=(made("1.0.0", {wide: asked("m")}, spec("m", shape=(3, 2))),)),
        Model("exact", versions=(made("1.0.0", {spec("x", DataType.FP64): asked("x")}, spec("y", DataType.FP64)),)),
        Model("label", versions=(made("1.0.0", {spec("n", DataType.INT64): asked("n")}, spec("l", DataType.INT64)),)),
        Model("word", versions=(made("1.0.0", {spec("w", DataType.BYTES): asked("w")}, spec("l", DataType.BYTES)),)),
    )
    return Catalog(views={"rider_stats": with_schema(view(), None, 1)}, models={each.name: each for each in models})


def default(name: str = "y", *values: float) -> Tensor:
    """Numbers without a type, as people write them."""
    return column(name, doubles=values or (0.5,))
