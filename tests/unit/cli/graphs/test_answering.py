"""Which versions are drawn for an endpoint, and its ladder in words."""

from __future__ import annotations

import pytest

from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Route, WeightedVersion
from predictmesh.registry.v1.release_pb2 import Release, ReleasePlan
from services.cli.errors import Mistake
from services.cli.graphs.answering import answering, ladder
from tests.unit.cli.graphs.samples import models

DELAY = models()["delay"]


def told(route: Route, *releases: Release) -> list[tuple[str, float, str]]:
    """Number, share and reason of each version that answers."""
    found = answering(Endpoint(name="departures", model="delay", route=route), DELAY, releases)
    return [(each.version.version, each.percent, each.why) for each in found]


def release(state: int) -> Release:
    """A release of the composed version in place of 2.0.0, in its second step."""
    plan = ReleasePlan(steps=[5, 25, 100])
    parts = {"endpoint": "departures", "id": 7, "stable": "2.0.0", "candidate": "3.0.0", "step": 1}
    return Release(plan=plan, state=state, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (Route(version="1.0.0"), ("1.0.0", 100, "")),
        (Route(alias="live"), ("3.0.0", 100, "alias live")),
        (Route(range="2.x"), ("2.0.0", 100, "range 2.x")),
    ],
)
def test_one_version(route: Route, expected: tuple[str, float, str]) -> None:
    """A number needs no reason, an alias or a range does."""
    assert [expected] == told(route)


def test_weights() -> None:
    """Each version has its share."""
    weights = [WeightedVersion(selector="live", percent=10), WeightedVersion(selector="1.0.0", percent=90)]
    assert [("3.0.0", 10, "weight"), ("1.0.0", 90, "weight")] == told(Route(weights=weights))


def test_release() -> None:
    """While a release is under way, or held, its two versions answer; one that has ended says nothing."""
    parted = [("2.0.0", 75, "stable of release 7"), ("3.0.0", 25, "candidate of release 7")]
    for state in (1, 2):
        assert parted == told(Route(version="2.0.0"), release(state))
    assert [("3.0.0", 100, "")] == told(Route(version="3.0.0"), release(3))


def test_unknown() -> None:
    """A selector that leads nowhere is a mistake."""
    with pytest.raises(Mistake, match=r"no version, alias or range '9\.x'"):
        told(Route(range="9.x"))


def test_ladder() -> None:
    """Every kind of step in words; what an alias or a range leads to now is said, also if that is nothing."""
    endpoint = Endpoint(name="departures", model="delay")
    endpoint.fallbacks.add(version="live")
    endpoint.fallbacks.add(version="1.0.0")
    endpoint.fallbacks.add(version="9.x")
    endpoint.fallbacks.add(last_answer_max_age_ms=600_000)
    endpoint.fallbacks.add().answer.outputs.add(name="probability", floats=[0.2])
    assert [
        ("version live, now 3.0.0", "version 3.0.0"),
        ("version 1.0.0", "version 1.0.0"),
        ("version 9.x, now none", ""),
        ("last answer for the same keys, at most 10m old", "last_answer"),
        ("answer probability 0.2", "answer"),
    ] == [(step.text, step.subject) for step in ladder(endpoint, DELAY)]
