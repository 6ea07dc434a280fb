"""`up` starts Triton beside the services and keeps it up."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from services.cli.fetch import fetch
from services.cli.targets import SERVICES
from services.cli.triton.choice import TritonMode
from tests.support.triton import installed_triton
from tests.support.valkey import wait_until
from tests.worlds.up import Up, up


@pytest.fixture(autouse=True)
def installed() -> None:
    """There is nothing to start without one."""
    installed_triton()


def is_ready(running: Up) -> bool:
    """Whether its Triton answers that it is ready."""
    return fetch(running.line["triton"]["http"], "/v2/health/ready", 2)[0] == 200


def pid(data: Path) -> int:
    """Return the process that Triton is now."""
    found: int = json.loads((data / "up.json").read_text())["pids"]["triton"][0]
    return found


@pytest.mark.parametrize(("mode", "topology"), [("auto", "mesh"), ("required", "monolith")])
def test_killed(tmp_path: Path, mode: TritonMode, topology: str) -> None:
    """It comes back at its ports, no service is touched, and a stop ends it too."""
    with up(tmp_path, "--topology", topology, triton=mode) as running:
        assert {"http", "grpc", "metrics"} == set(running.line["triton"])
        wait_until(lambda: is_ready(running), "a Triton that is ready")
        first = pid(tmp_path / "data")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid(tmp_path / "data") != first, "another Triton")
        wait_until(lambda: is_ready(running), "its readiness")
        now = json.loads((tmp_path / "data" / "up.json").read_text())
        assert [running.line["pids"][each] for each in SERVICES] == [now["pids"][each] for each in SERVICES]
        last = pid(tmp_path / "data")
        started = time.monotonic()
        assert 0 == running.stop()
        assert time.monotonic() - started < 10
    assert not psutil.pid_exists(last)


def test_off(tmp_path: Path) -> None:
    """Nothing of it is there."""
    with up(tmp_path, "--topology", "monolith", triton="off") as running:
        assert "triton" not in running.line
        assert "triton" not in running.line["pids"]
    assert not (tmp_path / "data" / "triton").exists()


def test_the_model_service_knows_it(tmp_path: Path) -> None:
    """Its own settings name Triton and the repository that both see."""
    with up(tmp_path, triton="required") as running:
        environment = psutil.Process(running.line["pids"]["model"][0]).environ()
    assert (running.line["triton"]["grpc"], str(tmp_path / "data" / "triton" / "repository")) == (
        environment["PREDICTMESH_MODEL_TRITON"],
        environment["PREDICTMESH_MODEL_TRITON_REPOSITORY"],
    )
