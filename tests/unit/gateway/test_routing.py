"""Which version answers, and what is said when none does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from services.gateway.convert_snapshot import TableBuilder
from services.gateway.errors import UnknownEndpoint, UnknownVersion
from services.gateway.routing import Arm, Endpoint, Route, RouteReason
from tests.support.predictions import column, endpoint, release, snapshot, version

NUMBERS = ("1.0.0", "1.1.0", "1.1.1", "2.0.0")


def built(at: Any = None, *releases: Any) -> Endpoint:
    """Return endpoint m; of its versions 2.0.0 is not released."""
    versions = [version({"x:FP32": ["x"]}, number=number, digest=number) for number in NUMBERS]
    defined = snapshot(
        versions=versions,
        endpoints=[at or endpoint({"alias": "live"})],
        releases=releases,
        released=NUMBERS[:3],
        live="1.0.0",
        next="2.0.0",
    )
    return TableBuilder().build(defined).endpoint("m")


def chosen(made: Endpoint, prediction_id: str = "id", *values: str | int) -> Route:
    """Return the route of a request without a pin, with values of key column `rider`."""
    return made.choose("", prediction_id, [column("other", "o"), column("rider", *values)] if values else [])


@pytest.mark.parametrize(
    ("pin", "answers", "reason"),
    [
        ("", "1.0.0", RouteReason.ENDPOINT_ALIAS),
        ("1.1.0", "1.1.0", RouteReason.PINNED),
        ("next", "2.0.0", RouteReason.PINNED_ALIAS),
        ("1.x", "1.1.1", RouteReason.PINNED_RANGE),
        ("1.0.x", "1.0.0", RouteReason.PINNED_RANGE),
    ],
)
def test_choice(pin: str, answers: str, reason: RouteReason) -> None:
    """A pin, else the endpoint's own route, and the answer says which it was."""
    route = built().choose(pin, "id", [])
    assert (answers, reason, None) == (route.target.version, route.reason, route.arm)


@pytest.mark.parametrize(
    ("route", "answers", "reason"),
    [
        ({"version": "1.1.0"}, "1.1.0", RouteReason.ENDPOINT_VERSION),
        ({"alias": "live"}, "1.0.0", RouteReason.ENDPOINT_ALIAS),
        ({"range": "1.x"}, "1.1.1", RouteReason.ENDPOINT_RANGE),
        ([("1.1.0", 100.0)], "1.1.0", RouteReason.ENDPOINT_WEIGHT),
    ],
)
def test_endpoint_route(route: Any, answers: str, reason: RouteReason) -> None:
    """The endpoint's route by each of its kinds."""
    found = chosen(built(endpoint(route)))
    assert (answers, reason) == (found.target.version, found.reason)


@pytest.mark.parametrize(
    ("pin", "told"),
    [
        ("9.9.9", r"no version or alias '9\.9\.9'; it has 1\.0\.0, 1\.1\.0, 1\.1\.1, 2\.0\.0, live, next"),
        ("2.x", r"no released version in the range '2\.x'; released are 1\.0\.0, 1\.1\.0, 1\.1\.1"),
        ("1", "no version or alias '1'"),
    ],
)
def test_unknown_pin_says_what_there_is(pin: str, told: str) -> None:
    """A pin that leads nowhere; a range leads to nothing that was not released."""
    with pytest.raises(UnknownVersion, match=told) as caught:
        built().choose(pin, "id", [])
    assert "version" == caught.value.violations[0].field


def test_unknown_endpoint() -> None:
    """A name that no endpoint has."""
    table = TableBuilder().build(snapshot(revision=7))
    assert 7 == table.revision
    with pytest.raises(UnknownEndpoint) as caught:
        table.endpoint("other")
    assert "endpoint" == caught.value.violations[0].field


def test_weights() -> None:
    """Requests are parted by their ids as the weights say, whatever selector names a version."""
    made = built(endpoint([("1.0.0", 20.0), ("1.1.x", 30.0), ("next", 50.0)]))
    routes = [chosen(made, f"id-{number}") for number in range(4000)]
    counts = Counter(route.target.version for route in routes)
    assert {RouteReason.ENDPOINT_WEIGHT} == {route.reason for route in routes}
    assert all(
        abs(counts[number] / 4000 - share) < 0.04
        for number, share in {"1.0.0": 0.2, "1.1.1": 0.3, "2.0.0": 0.5}.items()
    )
    assert ("2.0.0", 3) == (made.default.target.version, len(made.split.shares()))


def test_release_parts_requests() -> None:
    """A release under way gives the candidate its share in place of the route, and each route says of which arm it is."""
    made = built(endpoint({"version": "1.0.0"}), release("1.0.0", "1.1.0", 5, 25, 100, step=1))
    routes = [chosen(made, f"id-{number}") for number in range(4000)]
    by_version = {
        "1.1.0": (RouteReason.CANARY, Arm("m", 7, 1, "1.1.0")),
        "1.0.0": (RouteReason.STABLE, Arm("m", 7, 1, "1.0.0")),
    }
    assert all(by_version[route.target.version] == (route.reason, route.arm) for route in routes)
    assert abs(Counter(route.reason for route in routes)[RouteReason.CANARY] / 4000 - 0.25) < 0.04
    assert "1.0.0" == made.default.target.version


@pytest.mark.parametrize(("state", "under_way"), [("HELD", True), ("PROMOTED", False), ("ROLLED_BACK", False)])
def test_release_that_is_not_running(state: str, under_way: bool) -> None:
    """A held one parts requests as before; one that has ended leaves them to the route."""
    made = built(endpoint({"version": "1.0.0"}), release("1.0.0", "1.1.0", 50, 100, state=state))
    assert under_way == (made.split.only is None)


def test_steps_move_only_what_is_added() -> None:
    """From step to step a caller may come to the candidate, and never leaves it."""
    steps = [
        built(endpoint({"version": "1.0.0"}), release("1.0.0", "1.1.0", 5, 10, 50, 100, step=step)) for step in range(3)
    ]
    with_candidate = [
        {number for number in range(3000) if chosen(made, f"{number}").reason is RouteReason.CANARY} for made in steps
    ]
    assert with_candidate[0] < with_candidate[1] < with_candidate[2]


def test_releases_begin_with_other_callers() -> None:
    """The callers who got the last candidate first are not the first ones again."""
    first, second = (
        built(endpoint({"version": "1.0.0"}), release("1.0.0", "1.1.0", 10, 100, number=number)) for number in (7, 8)
    )
    both = [
        number
        for number in range(3000)
        if {RouteReason.CANARY} == {chosen(made, f"{number}").reason for made in (first, second)}
    ]
    assert len(both) < 100


def test_pins_win_over_a_release() -> None:
    """A caller who names a version gets it, and is no evidence."""
    made = built(endpoint({"version": "1.0.0"}), release("1.0.0", "1.1.0", 50, 100))
    for number in range(100):
        route = made.choose("1.1.0", f"{number}", [])
        assert ("1.1.0", RouteReason.PINNED, None) == (route.target.version, route.reason, route.arm)


@pytest.mark.parametrize("values", [("a", "b"), (17, 18)])
def test_sticky_key(values: tuple[str | int, ...]) -> None:
    """A value of the key keeps its version whatever the id and the other rows; text and integers alike."""
    made = built(endpoint([("1.0.0", 50.0), ("1.1.0", 50.0)], sticky_key="rider"))
    kept = chosen(made, "x", *values)
    assert all(kept is chosen(made, f"id-{number}", values[0], f"other-{number}") for number in range(100))
    assert kept is chosen(made, "x", str(values[0]))


def test_sticky_key_parts_values() -> None:
    """Values of the key fall on all versions."""
    made = built(endpoint([("1.0.0", 50.0), ("1.1.0", 50.0)], sticky_key="rider"))
    assert {"1.0.0", "1.1.0"} == {chosen(made, "same", f"{number}").target.version for number in range(50)}


@pytest.mark.parametrize("entities", [[], [column("other", "o")], [column("rider")]])
def test_request_without_the_sticky_key(entities: Any) -> None:
    """It is routed all the same: that the column is missing is told by the checks that every request passes."""
    made = built(endpoint([("1.0.0", 50.0), ("1.1.0", 50.0)], sticky_key="rider"))
    assert made.choose("", "id", entities).target.version in {"1.0.0", "1.1.0"}
