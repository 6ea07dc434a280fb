"""Ladders out of the registry's snapshot: steps by version of the route, without those that cannot be taken."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from predictmesh.registry.v1.endpoint_pb2 import Fallback
from services.gateway.convert_snapshot import TableBuilder
from services.gateway.ladder.steps import LastAnswerStep, StaticStep, VersionStep
from services.gateway.routing import Endpoint
from tests.support.predictions import endpoint, release, snapshot, version, view

RIDER = view("rider", "a:FP32")
BOUND = {"x:FP32": ["rider:a"]}
OUTPUTS = ("y:FP32", "words:BYTES:2")
MINUTE = Fallback(last_answer_max_age_ms=60_000)


def answer(*tensors: dict[str, Any]) -> Fallback:
    """A static answer."""
    made = Fallback()
    for tensor in tensors:
        made.answer.outputs.add(**tensor)
    return made


Y, WORDS = {"name": "y", "floats": [0.5]}, {"name": "words", "strings": ["maybe", ""]}


def built(*fallbacks: Fallback, route: Any = None, bound: Any = BOUND, releases: Any = ()) -> Endpoint:
    """Return endpoint m, of versions 1.0.0 and 1.1.0 with the same outputs, 1.2.0 with more, and 2.0.0 with others."""
    versions = [
        version(bound, OUTPUTS, number="1.0.0", digest="a"),
        version(bound, OUTPUTS, number="1.1.0", digest="b"),
        version(bound, ("more:BOOL", *reversed(OUTPUTS)), number="1.2.0", digest="c"),
        version(bound, ("y:FP64", "words:BYTES:2"), number="2.0.0", digest="d"),
    ]
    made = endpoint(route or {"version": "1.0.0"}, fallbacks=fallbacks)
    released = ["1.0.0", "1.1.0"]
    defined = snapshot(RIDER, versions=versions, endpoints=[made], released=released, releases=releases, next="1.2.0")
    return TableBuilder().build(defined).endpoint("m")


def steps(made: Endpoint) -> dict[str, list[object]]:
    """Return each ladder by the version that it belongs to: versions with the places of their outputs, seconds, values."""
    found: dict[str, list[object]] = {}
    for target, ladder in made.fallbacks.items():
        found[target.version] = [_shown(step) for step in ladder]
    return found


def _shown(step: object) -> object:
    match step:
        case VersionStep():
            return step.target.version, step.places
        case LastAnswerStep():
            return step.max_age_s
        case StaticStep():
            return [output.tolist() for output in step.outputs]
    raise AssertionError(step)


def test_steps() -> None:
    """Versions by any selector, with their outputs in the route's order; static answers in the order of the outputs."""
    made = built(Fallback(version="next"), Fallback(version="1.x"), MINUTE, answer(WORDS, Y))
    assert {"1.0.0": [("1.2.0", (2, 1)), ("1.1.0", (0, 1)), 60.0, [[[0.5]], [[b"maybe", b""]]]]} == steps(made)


def test_no_ladder() -> None:
    """Most endpoints have none."""
    assert {} == built().fallbacks


def test_each_version_of_the_route_has_its_own() -> None:
    """A version does not stand in for itself: neither where weights lead to it, nor in a release."""
    fallbacks = [Fallback(version="1.0.0"), Fallback(version="1.1.0")]
    expected = {"1.0.0": [("1.1.0", (0, 1))], "1.1.0": [("1.0.0", (0, 1))]}
    assert expected == steps(built(*fallbacks, route=[("1.0.0", 40.0), ("1.1.0", 60.0)]))
    assert expected == steps(built(*fallbacks, releases=[release("1.0.0", "1.1.0", 50, 100)]))


def test_steps_that_have_come_to_lead_to_one_version() -> None:
    """It has failed once, and is not asked again."""
    fallbacks = [Fallback(version="1.x"), MINUTE, Fallback(version="1.1.0"), answer(WORDS, Y)]
    assert {"1.0.0": [("1.1.0", (0, 1)), 60.0, [[[0.5]], [[b"maybe", b""]]]]} == steps(built(*fallbacks))


@pytest.mark.parametrize(
    "broken",
    [
        Fallback(),
        Fallback(version="9.9.9"),
        Fallback(version="2.0.0"),
        answer(Y),
        answer({**Y, "floats": [0.5, 0.5]}, WORDS),
        answer({**Y, "floats": [], "strings": ["half"]}, WORDS),
    ],
    ids=["no kind", "nowhere", "other outputs", "output missing", "too many values", "text for a number"],
)
def test_step_that_cannot_be_taken(caplog: pytest.LogCaptureFixture, broken: Fallback) -> None:
    """The others stand, and the endpoint answers; the log says which it is."""
    with caplog.at_level(logging.ERROR):
        made = built(MINUTE, broken, Fallback(version="1.1.0"))
    assert {"1.0.0": [60.0, ("1.1.0", (0, 1))]} == steps(made)
    (record,) = caplog.records
    assert ("a fallback cannot be used", "m", 1) == (record.message, vars(record)["endpoint"], vars(record)["step"])


def test_last_answer_without_keys(caplog: pytest.LogCaptureFixture) -> None:
    """No request is like another one then."""
    with caplog.at_level(logging.ERROR):
        assert {"1.0.0": []} == steps(built(MINUTE, bound={"x:FP32": ["x"]}))
    assert ["a fallback cannot be used"] == [record.message for record in caplog.records]
