"""`up` and `status` as their users see them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from services.cli.targets import SERVICES
from tests.integration.cli.conftest import World
from tests.support.commands import run, succeed
from tests.support.valkey import free_port, wait_until
from tests.worlds.up import up


def test_readiness_line(world: World) -> None:
    """One line of JSON names every service's addresses and pids, and those processes run."""
    line = world.up.line
    assert line["ready"] is True
    assert all(line[service].startswith("127.0.0.1:") and line["http"][service] for service in SERVICES)
    assert {*SERVICES, "valkey"} == set(line["pids"])
    assert 5 == len({pid for pids in line["pids"].values() for pid in pids if psutil.pid_exists(pid)})


def test_status(world: World) -> None:
    """Every service is ready, the loaded versions are listed, and breakers are closed."""
    report = json.loads(succeed("status", "--json", *world.at))
    assert [True] * 4 == [report[service]["ready"] for service in SERVICES]
    text = succeed("status", *world.at)
    assert "delay@2.0.0" in text
    assert "breakers" in text


def test_status_of_nothing(tmp_path: Path) -> None:
    """Services that are not there are named, with exit code 1."""
    addresses = [option for service in SERVICES for option in ("--http", f"{service}=127.0.0.1:{free_port()}")]
    outcome = run("status", *addresses, "--data", tmp_path)
    assert 1 == outcome.code
    assert "error: not ready: gateway, features, model, registry" in outcome.err


def test_second_up(world: World, tmp_path: Path) -> None:
    """A data directory in use and taken ports are refused at once, with what to do, and nothing is left behind."""
    outcome = run("up", *world.at)
    assert (2, "") == (outcome.code, outcome.out)
    assert "another `predictmesh up` (pid" in outcome.err
    base = world.up.line["gateway"].rpartition(":")[2]
    outcome = run("up", "--data", tmp_path, "--port-base", base)
    assert 2 == outcome.code
    assert f"port {base} (gateway gRPC)" in outcome.err
    assert not (tmp_path / "up.json").exists()


@pytest.mark.parametrize("service", ["features", "gateway", "valkey"])
def test_killed_process(world: World, service: str) -> None:
    """A process that is killed comes back, other commands learn its new pid, and predictions go on."""
    before = json.loads((world.data / "up.json").read_text())["pids"][service]
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: json.loads((world.data / "up.json").read_text())["pids"][service] != before, "a new process")
    row = ("--entity", "tail=N1", "--entity", "slot=1", "--feature", "distance=10")
    wait_until(lambda: run("predict", "delay", *row, *world.at).code == 0, "an answer")


def test_stop(tmp_path: Path) -> None:
    """Ctrl-C ends every process with exit status 0, and the data directory tells of no `up` any more."""
    started = time.monotonic()
    with up(tmp_path, "--topology", "monolith", "--log-level", "error") as running:
        assert time.monotonic() - started < 30
        assert 1 == len({tuple(running.line["pids"][service]) for service in SERVICES})
        assert 0 == running.stop()
        pids = [pid for pids in running.line["pids"].values() for pid in pids]
        assert [] == [pid for pid in pids if psutil.pid_exists(pid)]
        assert not (tmp_path / "data" / "up.json").exists()
