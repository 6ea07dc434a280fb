"""What a release under way holds, and what a version is composed of."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.registry.catalog import Catalog
from services.registry.changes import ResourceDeleted
from services.registry.definitions import Model, Release, ReleasePlan, ReleaseState, Route
from services.registry.deleting import plan_deletion
from services.registry.errors import InUse, ReleaseActive
from tests.support.definitions import endpoint, version
from tests.support.graphs import catalog_of_nodes, composed_in, graph
from tests.worlds.graphs import node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = Release("churn", 7, "1.0.0", "1.1.0", ReleasePlan(steps=(5.0, 100.0)), ReleaseState.RUNNING, 0, NOW, NOW, NOW)


def catalog(state: ReleaseState, routed: str) -> Catalog:
    """Two versions, one of them routed to, and a release in a state."""
    model = Model("churn", versions=(version("1.0.0"), version("1.1.0")))
    return Catalog(
        models={"churn": model},
        endpoints={"churn": endpoint(route=Route(version=routed))},
        releases={"churn": replace(RELEASE, state=state)},
    )


@pytest.mark.parametrize("state", [ReleaseState.RUNNING, ReleaseState.HELD])
@pytest.mark.parametrize("number", ["1.0.0", "1.1.0"])
def test_both_versions_of_a_release_under_way_stay(state: ReleaseState, number: str) -> None:
    """The candidate, which no route names, as well as the stable one."""
    with pytest.raises(InUse, match="release of endpoint churn that is under way"):
        plan_deletion(catalog(state, "1.0.0"), ResourceDeleted("version", "churn", number))


@pytest.mark.parametrize("state", [ReleaseState.RUNNING, ReleaseState.HELD])
def test_so_does_its_endpoint(state: ReleaseState) -> None:
    """Who deletes it has forgotten the release, or never knew of it."""
    with pytest.raises(ReleaseActive, match="promote it or roll it back first"):
        plan_deletion(catalog(state, "1.0.0"), ResourceDeleted("endpoint", "churn"))


@pytest.mark.parametrize(
    ("state", "routed", "left"),
    [(ReleaseState.PROMOTED, "1.1.0", "1.0.0"), (ReleaseState.ROLLED_BACK, "1.0.0", "1.1.0")],
)
def test_a_release_that_has_ended_holds_nothing(state: ReleaseState, routed: str, left: str) -> None:
    """The version that lost can go."""
    target = ResourceDeleted("version", "churn", left)
    assert target == plan_deletion(catalog(state, routed), target)


def composed_catalog() -> Catalog:
    """Version 9.0.0 of churn, composed of churn@1.0.0 and post@1.0.0."""
    catalog = catalog_of_nodes()
    churn = catalog.models["churn"]
    nodes = graph(node("mlp", "churn@1.0.0"), node("after", "post@1.0.0", {"p": "mlp"}), p="after")
    return catalog.with_model(replace(churn, versions=(*churn.versions, composed_in(catalog, nodes))))


@pytest.mark.parametrize(
    ("target", "user"),
    [
        (ResourceDeleted("version", "churn", "1.0.0"), "churn@1.0.0 is named by node mlp of churn@9.0.0"),
        (ResourceDeleted("version", "post", "1.0.0"), "post@1.0.0 is named by node after of churn@9.0.0"),
        (ResourceDeleted("model", "post"), "model post is named by node after of churn@9.0.0"),
    ],
)
def test_what_a_version_is_composed_of_stays(target: ResourceDeleted, user: str) -> None:
    """Without it nothing would answer."""
    with pytest.raises(InUse, match=re.escape(user)):
        plan_deletion(composed_catalog(), target)


@pytest.mark.parametrize(
    "target",
    [
        ResourceDeleted("version", "churn", "9.0.0"),
        ResourceDeleted("version", "churn", "2.0.0"),
        ResourceDeleted("model", "churn"),
    ],
)
def test_what_no_other_version_is_composed_of_can_go(target: ResourceDeleted) -> None:
    """A composed version; a version that is no node; a model whose own versions alone are composed of it."""
    assert target == plan_deletion(composed_catalog(), target)
