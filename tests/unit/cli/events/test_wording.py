"""Events of the registry's log in words: from what the registry writes itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from predictmesh.registry.v1.registry_service_pb2 import Event
from services.cli.events.wording import Narrator, concerns
from services.registry.changes import (
    Change,
    ReleaseChanged,
    ResourceDeleted,
    ResourcesApplied,
    VersionRegistered,
    encode,
)
from services.registry.definitions import (
    Endpoint,
    Model,
    Release,
    ReleasePlan,
    ReleaseState,
    Route,
    WeightedVersion,
)
from tests.support.definitions import version

START = datetime(2013, 10, 1, tzinfo=UTC)
RELEASE = Release(
    endpoint="delay",
    id=3,
    stable="1.0.0",
    candidate="1.1.0",
    plan=ReleasePlan(steps=(5.0, 25.0, 100.0)),
    state=ReleaseState.RUNNING,
    step=0,
    start_time=START,
    step_time=START,
    state_time=START,
)
LATER = START + timedelta(hours=1)
SECOND = replace(RELEASE, step=1, step_time=LATER, state_time=LATER)


def event(change: Change) -> Event:
    """The event that the registry writes of a change."""
    kind, payload = encode(change)
    return Event(revision=5, type=kind, payload=payload)


def endpoint(route: Route) -> ResourcesApplied:
    """An endpoint that was applied."""
    return ResourcesApplied(endpoints=(Endpoint("delay", "delay", route),))


def tell(*releases: Release) -> list[str]:
    """What is told of one release after the other."""
    narrator = Narrator()
    return [narrator.tell(event(ReleaseChanged(release))) for release in releases]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            ResourcesApplied(
                models=(Model("delay", aliases={"live": "1.0.0", "best": "2.0.0"}),),
                endpoints=(Endpoint("delay", "delay", Route(alias="live")),),
            ),
            "model delay (best=2.0.0, live=1.0.0); endpoint delay (alias live) applied",
        ),
        (endpoint(Route(range="1.x")), "endpoint delay (range 1.x) applied"),
        (
            endpoint(Route(weights=(WeightedVersion("1.0.0", 99.5), WeightedVersion("live", 0.5)))),
            "endpoint delay (1.0.0 99.5 %, live 0.5 %) applied",
        ),
        (
            replace(endpoint(Route(version="1.0.0")), forced=("delay@1.0.0: gate ready",)),
            "endpoint delay (version 1.0.0) applied, in spite of delay@1.0.0: gate ready",
        ),
        (VersionRegistered("churn", version()), "churn 1.0.0 registered, for onnx"),
        (ResourceDeleted("version", "churn", "1.0.0"), "churn 1.0.0 deleted"),
        (ResourceDeleted("feature_view", "plane"), "feature view plane deleted"),
        (ResourceDeleted("endpoint", "delay"), "endpoint delay deleted"),
    ],
)
def test_changes_of_definitions(change: Change, text: str) -> None:
    """Each change says what it is about, and of routes and aliases where they lead."""
    assert text == Narrator().tell(event(change))


def test_way_of_a_release() -> None:
    """A release is told from where it stood to where it stands."""
    held = replace(SECOND, state=ReleaseState.HELD, state_time=LATER + timedelta(hours=1))
    resumed = replace(held, state=ReleaseState.RUNNING, step_time=LATER + timedelta(hours=2))
    promoted = replace(resumed, state=ReleaseState.PROMOTED, step=2)
    back = replace(promoted, state=ReleaseState.ROLLED_BACK)
    assert [
        "release of delay: 1.1.0 in place of 1.0.0 at 5 %",
        "release of delay: 1.1.0 at 25 % (was 5 %)",
        "release of delay: 1.1.0 held at 25 %",
        "release of delay: 1.1.0 goes on at 25 %",
        "release of delay: 1.1.0 promoted, in place of 1.0.0",
        "release of delay: 1.1.0 rolled back, 1.0.0 answers",
    ] == tell(RELEASE, SECOND, held, resumed, promoted, back)


def test_release_from_its_midst() -> None:
    """Where the log was cut, nothing is said of what came before; nor is another release taken for the same one."""
    assert ["release of delay: 1.1.0 at 25 %"] == tell(SECOND)
    assert "release of delay: 1.1.0 at 25 %" == tell(replace(RELEASE, id=2), SECOND)[-1]


def test_gates_that_were_overridden() -> None:
    """What was forced is told with the start."""
    forced = replace(RELEASE, forced_gates=("ready", "metric/auc"))
    assert "release of delay: 1.1.0 in place of 1.0.0 at 5 %, in spite of ready, metric/auc" == tell(forced)[0]


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"release": {}}'])
def test_unknown_events(payload: str) -> None:
    """What a newer registry has written is told by its type; content that is not as expected stops nothing."""
    assert "things_changed" == Narrator().tell(Event(type="things_changed", payload=payload))
    for kind in ("release_changed", "resources_applied", "resource_deleted", "version_registered"):
        assert Narrator().tell(Event(type=kind, payload=payload))
        assert not concerns(Event(type=kind, payload=payload), "delay")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (ReleaseChanged(RELEASE), True),
        (endpoint(Route(version="1.0.0")), True),
        (ResourceDeleted("endpoint", "delay"), True),
        (ResourceDeleted("model", "delay"), False),
        (ResourcesApplied(models=(Model("delay"),)), False),
        (VersionRegistered("delay", version()), False),
        (ReleaseChanged(replace(RELEASE, endpoint="churn")), False),
    ],
)
def test_events_of_an_endpoint(change: Change, expected: bool) -> None:
    """An endpoint's events are those that change it or its release."""
    assert expected is concerns(event(change), "delay")
