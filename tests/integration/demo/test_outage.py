"""The demo's outage: a real model process is killed, and the endpoint's ladder answers until another is there."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop

from deploy.demo.flight_delay.definitions import RECORDING
from deploy.demo.flight_delay.online.definitions import define
from deploy.demo.flight_delay.online.running import running
from deploy.demo.flight_delay.online.session import load
from deploy.demo.flight_delay.outage.course import play_outage
from deploy.demo.flight_delay.outage.report import print_outage
from deploy.demo.flight_delay.outage.summary import Outage, problems
from deploy.demo.flight_delay.replay import Recording
from services.cli.options import Services

# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
pytestmark = pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What was announced."""
    return []


@pytest.fixture(scope="module")
def outage(trained: Path, told: list[str], tmp_path_factory: pytest.TempPathFactory) -> Outage:
    """Of services of their own."""
    directory = tmp_path_factory.mktemp("up")
    with running(directory, "mesh", None, "off"):
        services = Services({}, directory)
        define(services, trained, triton=False)
        uvloop.run(load(services, Recording(trained / RECORDING)))
        return play_outage(services, trained, 0, told.append)


def test_nothing_fails_without_a_model_process(outage: Outage) -> None:
    """Last answers are those that were given before, the others are the static one, and all say so."""
    assert [] == problems(outage)
    assert {} == outage.failures
    assert outage.last_answers > 0
    assert outage.static_answers > 0


def test_every_step_is_told_with_the_reason_why_it_was_left(outage: Outage) -> None:
    """In the order of the ladder: the version of the route, the simpler one, what was said last, the static answer."""
    route, simpler, last, static = outage.steps
    assert ("route", "1.1.0") == (route.step, route.version)
    assert ("version", "1.0.0") == (simpler.step, simpler.version)
    assert ("last answer", "static answer") == (last.step, static.step)
    left = [sum(each.left.values()) for each in outage.steps]
    assert left[0] == simpler.answered + left[1]
    assert left[1] == last.answered + left[2]
    assert (left[2], 0) == (static.answered, left[3])
    assert all(reason.isupper() for each in outage.steps for reason in each.left)


def test_the_report_tells_it(outage: Outage, told: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What happened, and a line for each step."""
    assert ["the model process is killed (SIGKILL)", "flight-delay is answered by its route's version again"] == told
    print_outage(outage)
    text = capsys.readouterr().out
    assert f"{outage.last_answers:,}" in text
    assert "0 failures" in text
