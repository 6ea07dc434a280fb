"""Composed versions as the registry has them, and the versions that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from predictmesh.registry.v1.graph_pb2 import CascadeStage, ConfidenceMeasure, Node
from services.registry.catalog import Catalog
from services.registry.convert import decode
from services.registry.definitions import (
    DataType,
    Graph,
    InputBinding,
    Model,
    Signature,
    TensorSpec,
    Version,
)
from services.registry.faults import Faults
from services.registry.graphs import compose
from services.registry.views import with_schema
from tests.support.definitions import asked, spec, stored, version, view
from tests.worlds import graphs as wire


def graph(*nodes: Node, **outputs: str) -> Graph:
    """As the registry has it once it is read: nodes, and where each output comes from."""
    return decode(wire.graph(*nodes, **outputs), Graph)


def stage(name: str, threshold: float = 0.8, confidence: str = "", measure: str = "UNSPECIFIED") -> CascadeStage:
    """A stage that says no more than it is told to."""
    return CascadeStage(
        node=name,
        confidence=wire.port(confidence) if confidence else None,
        measure=ConfidenceMeasure.Value(f"CONFIDENCE_MEASURE_{measure}"),
        threshold=threshold,
    )


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
