"""What a graph is refused for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.definitions import Graph
from services.registry.faults import Faults
from services.registry.graphs import compose
from tests.support.graphs import catalog_of_nodes, composed, graph
from tests.worlds.graphs import node

MLP, TREES, POST = node("mlp", "churn@1.0.0"), node("trees", "churn@2.0.0"), node("post", "post@1.0.0", {"p": "mlp"})
NODES = "version.graph.nodes"

Case = tuple[Graph, str, str]
"""A graph, and the path and a part of the text of a fault of it."""


def cases(given: Mapping[str, Case]) -> pytest.MarkDecorator:
    """Parametrizes a test by graphs that are refused."""
    return pytest.mark.parametrize(("given", "field", "text"), given.values(), ids=given.keys())


def refusal(given: Graph, **parts: Any) -> MeshError:
    """The error that names every fault of a version that is composed so; there is a composed version 3.0.0 already."""
    faults, catalog = Faults(), catalog_of_nodes()
    churn = catalog.models["churn"]
    present = replace(churn, versions=(*churn.versions, composed(graph(MLP, p="mlp"), "3.0.0")))
    version = composed(given, **parts)
    assert version is compose(version, {**catalog.models, "churn": present}, catalog.views, "version", faults)
    with pytest.raises(MeshError) as caught:
        faults.check()
    return caught.value


def check_refused(given: Graph, field: str, text: str) -> None:
    """One of the faults stands at the field and says the text."""
    error = refusal(given)
    said = [violation.description for violation in error.violations if violation.field == field]
    assert any(text in each for each in said), error.message
    assert Reason.INVALID_DEFINITION is error.reason
