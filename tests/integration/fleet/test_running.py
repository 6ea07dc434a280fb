"""`up --replicas`: several processes of a service, all of which are called and shown."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from services.cli.supervision.ports import STRIDE
from tests.integration.fleet.conftest import Fleet, busy
from tests.support.commands import run, succeed
from tests.support.valkey import wait_until
from tests.worlds.sandbox import Sandbox

NAMES = ["gateway", "gateway-2", "features", "features-2", "model", "model-2", "registry"]


def test_readiness_line(fleet: Fleet) -> None:
    """It names the addresses and pids of all processes; those of the second ones are so many ports above the first."""
    line = fleet.up.line
    for service in ("gateway", "features", "model"):
        first, second = (int(address.rpartition(":")[2]) for address in line[service].split(","))
        assert STRIDE == second - first
        assert 2 == len([pid for pid in fleet.pids(service) if psutil.pid_exists(pid)])
    assert 1 == len(line["pids"]["registry"])
    assert {"gateway-2", "features-2", "model-2"} <= {path.name for path in fleet.data.iterdir()}


def test_status(fleet: Fleet) -> None:
    """Every process is shown by its name, in the table and as JSON."""
    report = json.loads(succeed("status", "--json", *fleet.at))
    assert NAMES == list(report)
    assert fleet.pids("features") == [report[name]["pid"] for name in ("features", "features-2")]
    assert NAMES == [line.split()[0] for line in succeed("status", *fleet.at).splitlines()[1 : len(NAMES) + 1]]


async def test_calls_of_the_command_line(fleet: Fleet, own: Sandbox) -> None:
    """Predictions, stored values and figures come from the processes of a service together."""
    entity = ("--entity", "rider_id=r3", *fleet.at)
    assert "30" in await asyncio.to_thread(succeed, "predict", own.full("ride"), *entity)
    assert "30" in await asyncio.to_thread(succeed, "features", "get", own.full("rider"), *entity)
    async with busy(own):
        shown = await asyncio.to_thread(succeed, "graph", "show", own.full("ride"), "--live", "--json", *fleet.at)
    [version] = json.loads(shown)["versions"]
    assert version["calls"]["per_second"] > 0


def test_killed_process(fleet: Fleet) -> None:
    """One that is killed comes back at its ports, and the other of its service is left alone."""
    first, second = fleet.pids("model")
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: len(fleet.pids("model")) == 2 and second not in fleet.pids("model"), "another second one")
    assert first == fleet.pids("model")[0]
    wait_until(lambda: run("status", *fleet.at).code == 0, "all to be ready")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--replicas", "registry=2"], "registry has one process: the one writer of the log"),
        (["--replicas", "banana=2"], "no service 'banana': there are gateway, features, model"),
        (["--replicas", "gateway=0"], "gateway=0: a service has 1 to 8 processes"),
        (["--replicas", "gateway=2", "--topology", "monolith"], "--replicas gateway=2: a monolith is one process"),
        (["--replicas", "gateway=8", "--port-base", "65400"], "--port-base 65400: 8 processes of a service take ports"),
    ],
)
def test_what_cannot_be(tmp_path: Path, options: list[str], fault: str) -> None:
    """It is refused with why before anything is started."""
    outcome = run("up", "--data", tmp_path / "data", *options)
    assert (2, "") == (outcome.code, outcome.out)
    assert fault in outcome.err
    assert not (tmp_path / "data").exists()
