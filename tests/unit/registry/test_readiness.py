"""What model processes have said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from services.mesh.errors import MissingField
from services.registry.definitions import Version
from services.registry.readiness import EXPIRY_S, Readiness, RuntimeState, RuntimeStatus
from tests.support.definitions import version

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that the test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """At some time."""
    return Clock()


@pytest.fixture
def readiness(clock: Clock) -> Readiness:
    """Nothing reported."""
    return Readiness(clock, lambda: NOW)


GIVEN: Version = version(digest="d1")


def status(state: RuntimeState, runtime: str = "onnx", message: str = "") -> RuntimeStatus:
    """The given version in a state."""
    return RuntimeStatus("churn", "1.0.0", "d1", runtime, state, message)


def test_what_nobody_has_reported_is_not_ready(readiness: Readiness) -> None:
    """No word is not a good word."""
    assert "none has reported it" in readiness.why_not_ready("churn", GIVEN)


def test_one_runtime_of_one_process_is_enough(readiness: Readiness) -> None:
    """Others may still load, or have failed."""
    readiness.report("a", (status(RuntimeState.FAILED, "tensorrt_plan", "no GPU"),))
    assert "tensorrt_plan: FAILED no GPU" in readiness.why_not_ready("churn", GIVEN)
    readiness.report("b", (status(RuntimeState.READY),))
    assert readiness.why_not_ready("churn", GIVEN) == ""
    assert readiness.why_not_ready("other", GIVEN)


def test_a_report_replaces_the_one_before(readiness: Readiness) -> None:
    """It is everything that the process knows."""
    readiness.report("a", (status(RuntimeState.READY),))
    readiness.report("a", ())
    assert readiness.why_not_ready("churn", GIVEN)


def test_a_silent_process_is_forgotten(readiness: Readiness, clock: Clock) -> None:
    """Its versions are ready no more, and it is not listed."""
    readiness.report("a", (status(RuntimeState.READY),))
    clock.now += EXPIRY_S - 0.001
    assert readiness.why_not_ready("churn", GIVEN) == ""
    assert [report.instance_id for report in readiness.reports()] == ["a"]
    clock.now += 0.001
    assert readiness.why_not_ready("churn", GIVEN)
    assert readiness.reports() == []


def test_a_report_needs_a_process(readiness: Readiness) -> None:
    """Two nameless processes would be one."""
    with pytest.raises(MissingField) as caught:
        readiness.report("", ())
    assert caught.value.violations[0].field == "instance_id"
