"""Routes, ranges, weights and shadows: what they lead to, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from services.mesh.errors import MeshError, Reason
from services.registry.definitions import (
    Endpoint,
    InputBinding,
    OutcomeKind,
    OutcomePolicy,
    Route,
    Shadow,
    WeightedVersion,
)
from tests.support.catalogs import a_catalog, answering, the_model, with_applied, with_version
from tests.support.definitions import age, asked, endpoint, model, stored


def weights(**percents: float) -> Route:
    """Shares by selector; `v1_0_0` stands for 1.0.0."""
    return Route(
        weights=tuple(
            WeightedVersion(name.removeprefix("v").replace("_", "."), share) for name, share in percents.items()
        )
    )


def test_a_range_leads_to_the_newest_version_that_was_released() -> None:
    """What is merely registered answers nobody, however new it is."""
    catalog = with_version(a_catalog("1.0.0", "1.9.0", route=Route(range="1.x")), "1.10.0")
    assert answering(catalog) == ["1.9.0"]
    released = with_applied(catalog, endpoint("second", route=Route(version="1.10.0")))
    assert answering(released) == ["1.10.0"]


def test_routing_to_a_range_releases_its_newest_version_once() -> None:
    """An endpoint can begin with a range; the version that it led to stays released."""
    catalog = a_catalog("1.0.0", "1.1.0", "2.0.0", route=Route(range="1.x"))
    assert the_model(catalog).released_versions == ("1.1.0",)


def test_numbers_are_compared_as_numbers() -> None:
    """1.10 is newer than 1.9."""
    catalog = a_catalog("1.10.0", "1.9.0", "1.9.3", route=Route(range="1.x"))
    assert answering(catalog) == ["1.10.0"]
    assert answering(with_applied(catalog, endpoint(route=Route(range="1.9.x")))) == ["1.9.3"]


def test_weights_lead_to_each_of_their_versions() -> None:
    """By number, alias and range alike; all of them are released."""
    route = Route(
        weights=(WeightedVersion("champion", 90), WeightedVersion("1.1.0", 9.99), WeightedVersion("2.x", 0.01))
    )
    catalog = a_catalog("1.0.0", "1.1.0", "2.0.0", aliases={"champion": "1.0.0"}, route=route)
    assert answering(catalog) == ["1.0.0", "1.1.0", "2.0.0"]
    assert set(the_model(catalog).released_versions) == {"1.0.0", "1.1.0", "2.0.0"}


def test_what_a_caller_says_of_released_versions_is_passed_over() -> None:
    """They are the registry's own: applying a model again leaves them."""
    catalog = a_catalog("1.0.0", "1.1.0")
    assert the_model(with_applied(catalog, model())).released_versions == ("1.0.0",)


KIND: dict[str, Any] = {"kind": OutcomeKind.BINARY, "output": "y"}

REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("no route", {"route": Route()}, "route", "names a version, an alias or a range, or has weights"),
    ("two routes", {"route": Route(version="1.0.0", range="1.x")}, "route", "names a version, an alias or a range"),
    ("unknown version", {"route": Route(version="3.0.0")}, "route.version", "it has 1.0.0, 1.1.0"),
    ("unknown alias", {"route": Route(alias="nobody")}, "route.alias", "it has no aliases"),
    ("empty range", {"route": Route(range="2.x")}, "route.range", "there is no churn@2.x; it has 1.0.0, 1.1.0"),
    ("no range", {"route": Route(range="1")}, "route.range", "is no range such as 1.x"),
    ("sum", {"route": weights(v1_0_0=90, v1_1_0=9)}, "route.weights", "the shares make 99, not 100"),
    ("one", {"route": weights(v1_0_0=100)}, "route.weights", "name it as the route's version"),
    ("no share", {"route": weights(v1_0_0=100, v1_1_0=0)}, "route.weights[1].percent", "0 is no share"),
    ("fine share", {"route": weights(v1_0_0=99.999, v1_1_0=0.001)}, "route.weights[0].percent", "steps of 0.01"),
    ("weight of none", {"route": weights(v1_0_0=90, v7_0_0=10)}, "route.weights[1].selector", "no churn@7.0.0"),
    ("weights of one", {"route": weights(v1_0_0=90, v1_0_x=10)}, "route.weights[1].selector", "are both 1.0.0"),
    (
        "weights of one selector",
        {"route": Route(weights=(WeightedVersion("1.0.0", 50), WeightedVersion("1.0.0", 50)))},
        "route.weights[1].selector",
        "give it one share",
    ),
    ("sticky", {"sticky_key": "driver_id"}, "sticky_key", "no key column of churn@1.0.0; it has rider_id"),
    ("own shadow", {"shadow": Shadow("1.0.0", 10)}, "shadow.selector", "1.0.0 answers already"),
    ("shadow of none", {"shadow": Shadow("9.x", 10)}, "shadow.selector", "there is no churn@9.x"),
    ("shadow share", {"shadow": Shadow("1.1.0", 0)}, "shadow.percent", "0 is no share"),
    ("tolerance", {"shadow": Shadow("1.1.0", 1, -1)}, "shadow.absolute_tolerance", "0 or more"),
    ("nan", {"shadow": Shadow("1.1.0", 1, 0, float("nan"))}, "shadow.relative_tolerance", "0 or more"),
    ("no output", {"outcomes": OutcomePolicy("z", OutcomeKind.BINARY)}, "outcomes.output", "no output 'z': y"),
    ("element", {"outcomes": OutcomePolicy(**KIND, element=1)}, "outcomes.element", "has 1 elements"),
    ("no kind", {"outcomes": OutcomePolicy("y", OutcomeKind.UNSPECIFIED)}, "outcomes.kind", "BINARY"),
    ("sample", {"outcomes": OutcomePolicy(**KIND, sample_percent=101)}, "outcomes.sample_percent", "no share"),
    (
        "capture",
        {"outcomes": OutcomePolicy(**KIND, sample_percent=5, capture_percent=6)},
        "outcomes.capture_percent",
        "at most sample_percent",
    ),
    ("expiry", {"outcomes": OutcomePolicy(**KIND, expire_ms=999)}, "outcomes.expire_ms", "a second"),
]


@pytest.mark.parametrize(("parts", "field", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_could_not_act_is_refused(parts: dict[str, Any], field: str, message: str) -> None:
    """Each with its path and a remedy."""
    with pytest.raises(MeshError) as caught:
        with_applied(a_catalog(), endpoint(**{"route": Route(version="1.0.0"), **parts}))
    violation = caught.value.violations[0]
    assert violation.field == f"resources[0].endpoint.{field}"
    assert message in violation.description


@pytest.mark.parametrize(
    "changed", [Shadow("candidate", 10), None], ids=["into its own shadow", "without what the route names"]
)
def test_an_alias_cannot_move_where_an_endpoint_cannot_follow(changed: Shadow | None) -> None:
    """The model is refused, as the endpoint would be."""
    aliases = {"champion": "1.0.0", "candidate": "1.1.0"}
    catalog = a_catalog(aliases=aliases, route=Route(alias="champion"), shadow=changed)
    moved = model(champion="1.1.0", candidate="1.1.0") if changed else model(candidate="1.1.0")
    with pytest.raises(MeshError) as caught:
        with_applied(catalog, moved)
    assert caught.value.reason in {Reason.INCOMPATIBLE_CHANGE, Reason.IN_USE}
    assert "endpoint churn" in caught.value.message


def test_a_shadow_may_be_one_of_several_that_answer() -> None:
    """It shows something wherever another one answered."""
    made: Endpoint = endpoint(route=weights(v1_0_0=50, v1_1_0=50), shadow=Shadow("1.1.0", 10))
    assert answering(with_applied(a_catalog(), made)) == ["1.0.0", "1.1.0"]


def test_versions_that_share_requests_take_the_same() -> None:
    """A request that suits one of them would be refused by the other."""
    binding = InputBinding("x", (stored("trips"), stored("rating"), age(), asked("minute")))
    catalog = with_version(a_catalog("1.0.0"), "1.1.0", bindings=(binding,))
    with pytest.raises(MeshError, match="request-time feature minute") as caught:
        with_applied(catalog, endpoint(route=weights(v1_0_0=50, v1_1_0=50)))
    assert caught.value.violations[0].field == "resources[0].endpoint.route.weights"
