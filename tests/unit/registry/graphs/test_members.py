"""The versions that nodes are, and what these take from requests and feature views."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.definitions import KeyType, Model
from services.registry.faults import Faults
from services.registry.graphs import compose
from tests.support.definitions import asked, entity, spec, stored, view
from tests.support.graphs import catalog_of_nodes, composed, graph, made
from tests.unit.registry.graphs.refusing import MLP, NODES, refusal
from tests.worlds.graphs import node


@pytest.mark.parametrize(
    ("of", "reason", "field", "text"),
    [
        ("gone@1.0.0", Reason.UNKNOWN_MODEL, "model", "there is no model 'gone'"),
        ("churn@4.0.0", Reason.UNKNOWN_VERSION, "version", "no version '4.0.0', but 1.0.0, 2.0.0"),
        ("churn@champion", Reason.UNKNOWN_VERSION, "version", "name one by its number"),
        ("churn@9.0.0", Reason.UNKNOWN_VERSION, "version", "no version '9.0.0'"),
        ("churn@3.0.0", Reason.INVALID_DEFINITION, "version", "is composed itself"),
    ],
)
def test_a_node_is_a_version_made_of_artifacts(of: str, reason: Reason, field: str, text: str) -> None:
    """That there is, by its number."""
    error = refusal(graph(MLP, node("other", of), p="mlp", q="other"))
    assert reason is error.reason
    assert [f"{NODES}[1].model.{field}"] == [violation.field for violation in error.violations]
    assert text in error.message


def test_an_input_of_a_node_has_a_name_that_is_not_too_long() -> None:
    """With the node's before it, of which the author is told."""
    catalog, faults = catalog_of_nodes(), Faults()
    long = Model("long", versions=(made("1.0.0", {spec("x" * 250): asked("x")}, spec("y")),))
    compose(composed(graph(node("n" * 63, "long@1.0.0"), p="n" * 63)), {"long": long}, catalog.views, "v", faults)
    with pytest.raises(MeshError) as caught:
        faults.check()
    (violation,) = caught.value.violations
    assert violation.field == "v.graph.nodes[0].name"
    assert "nnn.xxx" in violation.description
    assert "give the node a shorter one" in violation.description


def test_nodes_take_one_thing_by_one_name() -> None:
    """A request has a feature once, in one type."""
    other = node("other", "exact@1.0.0")
    catalog, faults = catalog_of_nodes(), Faults()
    clash = made("3.0.0", {spec("h"): asked("x")}, spec("y"))
    churn = catalog.models["churn"]
    models = {**catalog.models, "churn": replace(churn, versions=(*churn.versions, clash))}
    compose(composed(graph(node("mlp", "churn@3.0.0"), other, p="mlp", q="other")), models, catalog.views, "v", faults)
    with pytest.raises(MeshError) as caught:
        faults.check()
    assert Reason.INVALID_BINDING is caught.value.reason
    assert "v.graph.nodes[1].model: request-time feature x is FP64 for other and FP32 for mlp" in caught.value.message


def test_nodes_share_a_key_column_of_one_type() -> None:
    """Views are read by it."""
    catalog, faults = catalog_of_nodes(), Faults()
    views = {**catalog.views, "by_number": view("by_number", entity=entity("other", rider_id=KeyType.INT64))}
    numbered = Model("numbered", versions=(made("1.0.0", {spec("x"): stored("trips", "by_number")}, spec("y")),))
    models = {**catalog.models, "numbered": numbered}
    compose(composed(graph(MLP, node("n", "numbered@1.0.0"), p="mlp", q="n")), models, views, "v", faults)
    (said,) = faults.descriptions
    assert said.startswith("key column rider_id is INT64 for n and STRING for mlp")
