"""The evidence of releases: what counts, how often, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from services.gateway.errors import (
    InvalidOutput,
    MissingFeature,
    MissingKey,
    StaleFeature,
    UnknownVersion,
    VersionNotLoaded,
)
from services.gateway.prediction import Outcome, Prediction
from services.gateway.routing import Arm, Route, RoutingTable
from services.gateway.traffic import Traffic, latency_bin
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    Reason,
    RemoteError,
    UpstreamUnavailable,
)
from tests.support.predictions import AS_OF_US, call, column, endpoint, release, snapshot, version
from tests.unit.gateway.world import World

CANDIDATE = Arm("m", 7, 0, "1.1.0")
STABLE = Arm("m", 7, 0, "1.0.0")
VERSIONS = [version({"x:FP32": ["x"]}, number=number, digest=number) for number in ("1.0.0", "1.1.0")]
ONE = [column("x", 1.0)]


def table(*releases: Any, log_id: str = "log", versions: Sequence[Any] = VERSIONS) -> RoutingTable:
    """Return a table with an endpoint of two versions."""
    defined = snapshot(versions=versions, endpoints=[endpoint({"version": "1.0.0"})], releases=releases)
    defined.log_id = log_id
    return World({}).tables.build(defined)


RUNNING = release("1.0.0", "1.1.0", 50, 100)


class Counting:
    """Traffic of an endpoint with a release under way."""

    def __init__(self, *releases: Any, versions: Sequence[Any] = VERSIONS) -> None:
        self.traffic = Traffic()
        self.use(table(*(releases or (RUNNING,)), versions=versions))

    def use(self, made: RoutingTable) -> None:
        self.endpoint = made.endpoint("m")
        self.traffic.use(made)

    def route(self, version: str) -> Route:
        return next(route for route, _ in self.endpoint.split.shares() if route.target.version == version)

    def answer(
        self,
        version: str = "1.1.0",
        *,
        seconds: float = 0.001,
        errors: Any = (),
        route: Route | None = None,
        **parts: Any,
    ) -> None:
        outcome = Outcome([], dict(enumerate(errors)), [], [], "onnx")
        made = Prediction("made", route or self.route(version), 1, outcome, AS_OF_US, "", 1)
        self.traffic.answered(call(features=ONE, **parts), self.endpoint, made, seconds)

    def fail(self, error: MeshError, version: str = "1.1.0", **parts: Any) -> None:
        self.traffic.failed(call(**{"features": ONE, **parts}), self.endpoint, self.route(version), error, 0.001)

    def changed(self) -> dict[Arm, tuple[int, int]]:
        return {each.arm: (each.requests, each.errors) for each in self.traffic.changed()}

    def take(self) -> None:
        self.traffic.taken(self.traffic.changed())


@pytest.mark.parametrize(("refusing", "features"), [(CANDIDATE, ["x"]), (STABLE, ["x", "new"])])
def test_version_that_refuses_what_the_other_takes_has_failed(refusing: Arm, features: list[str]) -> None:
    """A candidate that takes other requests than callers send would be nobody's fault for ever."""
    versions = [VERSIONS[0], version({"x:FP32": ["x"], "n:FP32": ["new"]}, number="1.1.0", digest="other")]
    counting = Counting(RUNNING, versions=versions)
    request = [column(name, 1.0) for name in features]
    for number in ("1.0.0", "1.1.0"):
        counting.fail(InvalidArgument(""), number, features=request)
    assert {refusing: (1, 1)} == counting.changed()


def test_request_that_no_version_takes_is_the_callers_fault() -> None:
    """Whichever it came to; and so is one that they take, and that the model does not."""
    counting = Counting()
    for features in ([], ONE):
        for number in ("1.0.0", "1.1.0"):
            counting.fail(InvalidArgument(""), number, features=features)
    assert {} == counting.changed()


def test_answers_are_counted_by_arm() -> None:
    """Each version's requests by themselves, with their times in bins."""
    counting = Counting()
    for seconds in (0.001, 0.001, 0.5):
        counting.answer(seconds=seconds)
    counting.answer("1.0.0", seconds=0.001)
    assert {CANDIDATE: (3, 0), STABLE: (1, 0)} == counting.changed()
    latency = next(each.latency for each in counting.traffic.changed() if each.arm == CANDIDATE)
    assert {79: 2, 151: 1} == latency
    assert sorted(latency) == list(latency)


@pytest.mark.parametrize(
    ("seconds", "index"), [(0.0, 0), (1e-6, 0), (1.2e-6, 2), (2e-6, 8), (0.000999, 79), (0.001024, 80), (1.0, 159)]
)
def test_bins(seconds: float, index: int) -> None:
    """Bin i holds the times from 2^(i/8) to below 2^((i+1)/8) microseconds; the first one those below too."""
    assert index == latency_bin(seconds)
    assert index == 0 or 2 ** (index / 8) <= seconds * 1e6 < 2 ** ((index + 1) / 8)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Internal(""), True),
        (InvalidOutput(""), True),
        (RemoteError(Code.UNKNOWN, Reason.INTERNAL, ""), True),
        (UpstreamUnavailable(""), True),
        (VersionNotLoaded(""), True),
        (Overloaded(""), True),
        (DeadlineExceeded(""), True),
        (MissingFeature(""), True),
        (StaleFeature(""), True),
        (MissingKey(""), False),
        (UnknownVersion(""), False),
        (RemoteError(Code.CANCELLED, Reason.CANCELLED, ""), False),
        (RemoteError(Code.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT, ""), False),
    ],
    ids=lambda each: f"{each.code.name}-{each.reason}" if isinstance(each, MeshError) else str(each),
)
def test_which_failures_count(error: MeshError, counts: bool) -> None:
    """A caller's fault says nothing of a version: it is neither a request nor an error. The same holds of rows."""
    counting = Counting()
    counting.fail(error)
    assert ({CANDIDATE: (1, 1)} if counts else {}) == counting.changed()
    counting = Counting()
    counting.answer(errors=[error, error])
    assert {CANDIDATE: (1, int(counts))} == counting.changed()


def test_failures_have_no_time() -> None:
    """A version that fails fast is not a fast one."""
    counting = Counting()
    counting.fail(Internal(""))
    assert [{}] == [each.latency for each in counting.traffic.changed()]


def test_what_is_no_evidence() -> None:
    """Requests with a pin, and those that ask for an explanation."""
    counting = Counting()
    counting.answer(route=counting.endpoint.choose("1.1.0", "id", []))
    counting.answer(explain=True)
    assert {} == counting.changed()


def test_named_predictions_count_once() -> None:
    """A repeat of a caller's prediction id does not count again, answered or failed; a fault of the caller leaves no trace."""
    counting = Counting()
    counting.fail(MissingKey(""), prediction_id="a")
    counting.answer(prediction_id="a")
    counting.answer(prediction_id="a")
    counting.fail(Internal(""), prediction_id="a")
    counting.answer(prediction_id="b")
    counting.answer()
    counting.answer()
    assert {CANDIDATE: (4, 0)} == counting.changed()


def test_totals_are_told_until_they_are_taken() -> None:
    """What was not taken comes again; what was taken comes when it has changed, as a total."""
    counting = Counting()
    counting.answer()
    told = counting.traffic.changed()
    assert counting.changed() == counting.changed() == {CANDIDATE: (1, 0)}
    counting.answer()
    counting.traffic.taken(told)
    assert {CANDIDATE: (2, 0)} == counting.changed()
    counting.take()
    assert {} == counting.changed()
    counting.answer("1.0.0")
    assert {STABLE: (1, 0)} == counting.changed()


def test_what_was_told_does_not_change() -> None:
    """A report that is on its way is what it was."""
    counting = Counting()
    counting.answer()
    (told,) = counting.traffic.changed()
    counting.answer()
    assert (1, {79: 1}) == (told.requests, told.latency)


def test_steps_count_apart_and_tables_change() -> None:
    """A new table leaves the totals; the next step has its own."""
    counting = Counting()
    counting.answer()
    counting.use(table(release("1.0.0", "1.1.0", 50, 60, 100, step=1)))
    counting.answer()
    next_step = CANDIDATE._replace(step=1)
    assert {CANDIDATE: (1, 0), next_step: (1, 0)} == counting.changed()


def test_totals_outlive_their_release_until_they_are_taken() -> None:
    """When another release has taken its place its last totals are told, then it is forgotten."""
    counting = Counting()
    straggler = counting.route("1.1.0")
    counting.answer()
    counting.use(table(release("1.0.0", "1.1.0", 50, 100, number=9)))
    assert {CANDIDATE: (1, 0)} == counting.changed()
    counting.answer(route=straggler)
    assert {CANDIDATE: (2, 0)} == counting.changed()
    counting.take()
    counting.answer(route=straggler)
    assert ({}, {}) == (counting.changed(), counting.traffic._tallies)


def test_a_release_that_is_gone_and_was_told_is_forgotten_at_once() -> None:
    """Nothing is kept for an endpoint whose release is no longer there."""
    counting = Counting()
    counting.answer()
    counting.take()
    counting.use(table())
    assert {} == counting.traffic._tallies


def test_an_ended_release_still_counts_its_stragglers() -> None:
    """Requests under way when the release ended, as long as it is the last one of its endpoint."""
    counting = Counting()
    straggler = counting.route("1.1.0")
    counting.answer()
    counting.take()
    counting.use(table(release("1.0.0", "1.1.0", 50, 100, state="PROMOTED")))
    counting.answer(route=straggler)
    assert {CANDIDATE: (2, 0)} == counting.changed()


def test_another_log_begins_anew() -> None:
    """A registry on empty storage may give the same ids to other releases."""
    counting = Counting()
    counting.answer()
    counting.use(table(RUNNING, log_id="other"))
    assert {} == counting.changed()
    counting.answer()
    assert {CANDIDATE: (1, 0)} == counting.changed()


async def test_a_flow_tells_of_its_requests() -> None:
    """From the request to the totals: answered and failed ones, each by the version that it fell to."""
    traffic = Traffic()
    world = World({}, traffic)
    made = table(RUNNING)
    traffic.use(made)
    world.flow.use(made)
    for number in range(40):
        await world.flow.run(call(features=ONE, prediction_id=f"{number}"))
    world.model.failures = [Internal("")]
    with pytest.raises(Internal):
        await world.flow.run(call(features=ONE))
    with pytest.raises(MeshError):
        await world.flow.run(call())
    totals = {each.arm: each for each in traffic.changed()}
    assert {CANDIDATE, STABLE} == set(totals)
    assert (41, 1) == tuple(sum(getattr(each, name) for each in totals.values()) for name in ("requests", "errors"))
