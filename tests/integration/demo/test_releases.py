"""The demo's releases through real services, on models and a recording made in small by the pipeline's own parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo.flight_delay.definitions import HERE
from deploy.demo.flight_delay.release.board import BOARD
from deploy.demo.flight_delay.release.course import Script, play_releases
from deploy.demo.flight_delay.release.definitions import read_plan
from deploy.demo.flight_delay.release.report import passed, print_releases
from deploy.demo.flight_delay.release.summary import Releases, ReleaseSummary, problems
from predictmesh.registry.v1.registry_service_pb2 import ListEventsRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_pb2 import ReleasePlan
from services.cli.client import connect
from services.cli.options import Services
from tests.integration.demo.conftest import COMPARED

# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
pytestmark = pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")

# A model of a few days has hardly learned what the demo's swap takes away; but minutes for departures upset it.
SWAP = '"carrier_lateness:late_7d"', '"carrier_lateness:delay_7d"'


def short_plan() -> ReleasePlan:
    """The demo's, with fewer and larger steps."""
    plan = read_plan()
    plan.ClearField("steps")
    plan.steps.extend([20, 50, 100])
    plan.min_requests = plan.quality.min_outcomes = 30
    return plan


def broken_version(folder: Path) -> Path:
    """1.1.0 as 1.2.0, with two sources swapped."""
    text = (HERE / "versions" / "1.1.0.yaml").read_text().replace("version: 1.1.0", "version: 1.2.0")
    first, second = SWAP
    file = folder / "1.2.0.yaml"
    file.write_text(text.replace(first, "first").replace(second, first).replace("first", second))
    return file


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What was announced."""
    return []


@pytest.fixture(scope="module")
def releases(
    sample: object, services: Services, trained: Path, told: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Releases:
    """The services after both releases, with which the store leaves the state that the sample was asked of."""
    assert sample
    broken = broken_version(tmp_path_factory.mktemp("broken"))
    script = Script(plan=short_plan(), broken=broken, shadowed=40, most=1_000)
    return play_releases(services, trained, COMPARED, told.append, script)


def seen(release: ReleaseSummary) -> tuple[int, int]:
    """Answers and outcomes of the candidate, as the registry has them."""
    arms = [step.candidate for step in release.steps]
    return sum(arm.requests for arm in arms), sum(arm.outcomes for arm in arms)


def test_the_better_version_wins_and_the_broken_one_is_taken_back(releases: Releases) -> None:
    """On quality alone, and before it has answered many."""
    assert [] == problems(releases)
    assert ("promoted", ()) == (releases.promoted.state, releases.promoted.violated)
    assert [20, 50] == [step.percent for step in releases.promoted.steps]
    broken = releases.rolled_back
    assert ("rolled back", ("quality",)) == (broken.state, broken.violated)
    assert 0 < broken.answered < broken.requests / 2
    assert "1.1.0" == releases.answered_by


def test_the_registry_has_counted_what_the_caller_got(releases: Releases) -> None:
    """Every answer and outcome once."""
    for release in (releases.promoted, releases.rolled_back):
        assert (release.answered, release.outcomes) == seen(release)
        assert release.requests == sum(step.stable.requests + step.candidate.requests for step in release.steps)
    assert releases.outcomes == sum(each.outcomes for each in releases.quality)
    assert releases.requests == releases.outcomes + releases.awaited


def test_the_shadow_tells_that_answers_differ(releases: Releases) -> None:
    """Of every request; none fails, and no caller has seen one of its answers."""
    shadow = releases.shadow
    assert ("1.1.0", "1.2.0") == (shadow.primary, shadow.version)
    assert shadow.rows + shadow.dropped >= 40
    assert shadow.agreeing < shadow.rows


def test_every_step_is_told_with_its_reason(releases: Releases, told: list[str]) -> None:
    """In their order, the figures in it."""
    steps = [text for text in told if text.startswith(("1.1.0 ", "1.2.0 ")) and "registered" not in text]
    beginnings = ["1.1.0 answers 20 %", "1.1.0 answers 50 %", "1.1.0 promoted"]
    beginnings += ["1.2.0 in the shadow", "1.2.0 answers 20 %", "1.2.0 rolled back"]
    assert [True] * len(beginnings) == [text.startswith(start) for text, start in zip(steps, beginnings, strict=True)]
    assert "log_loss" in steps[1]
    assert "worse by more than" in steps[-1]


def test_nobody_but_the_controller_has_ended_them(releases: Releases, services: Services) -> None:
    """The log has two starts by a person; whatever followed, it has decided."""
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        events = registry.ListEvents(ListEventsRequest(), timeout=5).events
    changes = [event for event in events if event.type == "release_changed" and BOARD in event.payload]
    assert [False, True, True, False, True] == [event.actor == "rollout" for event in changes]


def test_the_report_tells_it(releases: Releases, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step of both versions, and the end of both releases."""
    print_releases(releases)
    text = capsys.readouterr().out
    assert "1.1.0 for 1.0.0  20 %   1.1.0" in text
    assert f"rolled back after {releases.rolled_back.answered} answers of its own" in text
    assert f"1.2.0 taken back on quality alone after {releases.rolled_back.answered} answers" in passed(releases)
