"""The CPU time of services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.flight_delay.composition.cpu import CpuClock
from services.cli.errors import Failure


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(
        [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"], stdout=-1
    ) as found:
        assert found.stdout is not None
        found.stdout.readline()
        yield found
        found.kill()


def clock(data: Path, **pids: int) -> CpuClock:
    """The clock of an `up` with these processes."""
    line = {"supervisor": os.getpid(), "pids": {name: [pid] for name, pid in pids.items()}}
    (data / "up.json").write_text(json.dumps(line))
    return CpuClock(data)


def work(seconds: float) -> None:
    """Use the CPU for so long."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_each_service_is_read_for_itself(tmp_path: Path, idle: subprocess.Popen[bytes]) -> None:
    """What one uses is not what another does, and much finer than the kernel's ticks."""
    cpu = clock(tmp_path, gateway=os.getpid(), features=idle.pid, model=idle.pid, registry=1)
    assert ("gateway", "features", "model") == cpu.names
    before = cpu.read()
    work(0.005)
    gateway, features, model = (after - start for start, after in zip(before, cpu.read(), strict=True))
    assert max(features, model) < 5e6 <= gateway


def test_one_process_that_is_all_of_them_counts_once(tmp_path: Path) -> None:
    """As in a monolith."""
    pid = os.getpid()
    assert ("services",) == clock(tmp_path, gateway=pid, features=pid, model=pid).names


def test_a_service_without_a_process_is_told(tmp_path: Path, idle: subprocess.Popen[bytes]) -> None:
    """Or one whose process has ended since."""
    with pytest.raises(Failure, match="no process of model"):
        clock(tmp_path, gateway=os.getpid(), features=os.getpid())
    cpu = clock(tmp_path, gateway=os.getpid(), features=os.getpid(), model=idle.pid)
    idle.kill()
    idle.wait()
    with pytest.raises(Failure, match="a service has ended"):
        cpu.read()
