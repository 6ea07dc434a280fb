"""Endpoints out of the registry's snapshot: what cannot be used of one is told and takes nothing else with it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from predictmesh.registry.v1 import endpoint_pb2
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.policies import OutcomeKind, OutcomePolicy
from services.gateway.routing import Endpoint, RouteReason
from tests.support.predictions import endpoint, release, snapshot, version

NUMBERS = ("1.0.0", "1.1.0")
ONE = {"version": "1.0.0"}


def built(made: Any, *releases: Any) -> Endpoint:
    """Return the endpoint as a table has it, of a model of two released versions."""
    versions = [version({"x:FP32": ["x"]}, number=number, digest=number) for number in NUMBERS]
    defined = snapshot(versions=versions, endpoints=[made], releases=releases, released=NUMBERS, next="1.1.0")
    return TableBuilder().build(defined).endpoint("m")


def shares(made: Endpoint) -> list[tuple[str, float, RouteReason]]:
    """Return what answers requests without a pin."""
    return [(route.target.version, percent, route.reason) for route, percent in made.split.shares()]


def test_release_without_a_usable_version(caplog: pytest.LogCaptureFixture) -> None:
    """The route holds while a side of the release cannot be used."""
    expected = [("1.0.0", 100.0, RouteReason.ENDPOINT_VERSION)]
    with caplog.at_level(logging.ERROR):
        for broken in (release("1.0.0", "9.9.9", 50, 100), release("0.9.9", "1.1.0", 50, 100)):
            assert expected == shares(built(endpoint(ONE), broken))
        assert expected == shares(built(endpoint(ONE), release("1.0.0", "1.1.0", 50, 100, step=2)))
    assert ["release that cannot be used"] * 3 == [record.message for record in caplog.records]


def test_release_of_another_endpoint() -> None:
    """An endpoint's routing is its own."""
    made = built(endpoint(ONE), release("1.0.0", "1.1.0", 50, 100, name="other"))
    assert [("1.0.0", 100.0, RouteReason.ENDPOINT_VERSION)] == shares(made)


def test_release_in_hundredths() -> None:
    """A share of a hundredth of a percent is one bucket of ten thousand."""
    made = built(endpoint(ONE), release("1.0.0", "1.1.0", 0.01, 100))
    assert [("1.1.0", 0.01, RouteReason.CANARY), ("1.0.0", 99.99, RouteReason.STABLE)] == shares(made)


def test_weight_that_leads_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """The others answer, the last of them what is left."""
    with caplog.at_level(logging.ERROR):
        made = built(endpoint([("1.0.0", 30.0), ("2.x", 30.0), ("next", 40.0)]))
    weight = RouteReason.ENDPOINT_WEIGHT
    assert [("1.0.0", 30.0, weight), ("1.1.0", 70.0, weight)] == shares(made)
    assert "2.x" in str([vars(record) for record in caplog.records])


def test_shadow() -> None:
    """A shadow is resolved to its target, by any selector."""
    made = endpoint_pb2.Shadow(selector="next", percent=12.5, absolute_tolerance=0.1, relative_tolerance=0.2)
    found = built(endpoint(ONE, shadow=made)).shadow
    assert found is not None
    assert ("1.1.0", 12.5, 0.1, 0.2) == (
        found.target.version,
        found.percent,
        found.absolute_tolerance,
        found.relative_tolerance,
    )
    assert built(endpoint(ONE)).shadow is None


def test_shadow_that_leads_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint answers without it."""
    with caplog.at_level(logging.ERROR):
        assert built(endpoint(ONE, shadow=endpoint_pb2.Shadow(selector="3.x", percent=1))).shadow is None
    assert ["shadow without a version"] == [record.message for record in caplog.records]


def test_outcomes_with_their_defaults() -> None:
    """All predictions, for seven days, without features, unless the endpoint says otherwise."""
    made = endpoint_pb2.OutcomePolicy(output="y", kind=endpoint_pb2.OUTCOME_KIND_BINARY)
    expected = OutcomePolicy("y", 0, OutcomeKind.BINARY, 100.0, 7 * 86_400_000, 0.0)
    assert expected == built(endpoint(ONE, outcomes=made)).outcomes
    made.MergeFrom(endpoint_pb2.OutcomePolicy(element=2, sample_percent=5, expire_ms=9, capture_percent=0.5))
    made.kind = endpoint_pb2.OUTCOME_KIND_REGRESSION
    expected = OutcomePolicy("y", 2, OutcomeKind.REGRESSION, 5.0, 9, 0.5)
    assert expected == built(endpoint(ONE, outcomes=made)).outcomes
    assert built(endpoint(ONE)).outcomes is None


def test_every_kind_of_outcome_has_its_number() -> None:
    """The wire's numbers and ours are of the same kinds."""
    wire = {name.removeprefix("OUTCOME_KIND_"): number for name, number in endpoint_pb2.OutcomeKind.items()}
    assert wire == {"UNSPECIFIED": 0} | {kind.name: kind.value for kind in OutcomeKind}


def test_outcomes_of_a_kind_that_only_a_newer_gateway_knows(caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint answers without keeping any."""
    made = endpoint_pb2.OutcomePolicy(output="y", kind=99)  # type: ignore[arg-type]
    assert built(endpoint(ONE, outcomes=made)).outcomes is None
    assert "unknown kind" in caplog.text


def test_timeout() -> None:
    """A second unless it says otherwise."""
    assert 1.0 == built(endpoint(ONE)).default_timeout_s
    assert 0.25 == built(endpoint(ONE, default_timeout_ms=250)).default_timeout_s
