"""The supervisor starts, announces, restarts and stops processes, and leaves none behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.valkey import free_port, wait_until

LIMIT_S = 30.0
TIERS = {"start": [["registry"], ["gateway", "model"]], "stop": [["gateway"], ["model"], ["registry"]]}


@dataclass
class Run:
    """A supervisor process and the journal of its services."""

    process: subprocess.Popen[str]
    journal: Path

    def line(self) -> dict[str, Any]:
        """Return the next readiness line."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def events(self, kind: str) -> list[str]:
        """Return the names of the services that an event of this kind happened to, in order."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [line.split()[1] for line in lines if line.startswith(kind)]

    def pids(self) -> list[int]:
        """Return every pid that a service ever had."""
        return [int(line.split()[2]) for line in self.journal.read_text().splitlines() if line.startswith("start")]

    def end(self) -> tuple[int, str]:
        """Return the exit code and stderr when it has ended."""
        _, err = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, err


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the services of a run write what happens to them."""
    return tmp_path / "journal"


@pytest.fixture
def start(journal: Path) -> Iterator[Any]:
    """Starts supervisors of three services, whose behaviours are given, and kills what is left of them at the end."""
    runs: list[Run] = []

    def start(behaviours: dict[str, str] | None = None, **plan: object) -> Run:
        services = {
            name: [free_port(), (behaviours or {}).get(name, "healthy")] for name in ("registry", "gateway", "model")
        }
        text = json.dumps({"journal": str(journal), "services": services, **TIERS, **plan})
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_up", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        runs.append(Run(process, journal))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate()


def all_gone(pids: list[int]) -> bool:
    """Whether no process of these runs any more; one that waits for its parent to look counts as gone."""
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True


def test_order(start: Any) -> None:
    """A tier starts when the one before is ready, the line names every pid, and a signal stops all in their order."""
    run = start()
    line = run.line()
    assert line["ready"] is True
    assert "registry" == run.events("serve")[0]
    assert sorted(pid for pids in line["pids"].values() for pid in pids) == sorted(run.pids())
    run.process.send_signal(signal.SIGINT)
    code, _ = run.end()
    assert 0 == code
    assert ["gateway", "model", "registry"] == run.events("stop")
    assert all_gone(run.pids())


def test_restart(start: Any) -> None:
    """A process that dies is started again, the new pid is announced, and the others are left alone."""
    run = start()
    before = run.line()["pids"]
    os.kill(before["model"][0], signal.SIGKILL)
    after = run.line()["pids"]
    assert before["model"] != after["model"]
    assert (before["gateway"], before["registry"]) == (after["gateway"], after["registry"])
    wait_until(lambda: run.events("serve").count("model") == 2, "the second model")
    run.process.terminate()
    code, err = run.end()
    assert 0 == code
    assert "model ended with signal SIGKILL; starting it again in 0.05 s" in err


def test_processes_of_a_process(start: Any) -> None:
    """What one has started does not outlive it, whether it is killed or stopped."""
    run = start({"model": "parental"})
    before = run.line()["pids"]
    left = run.pids()
    os.kill(before["model"][0], signal.SIGKILL)
    run.line()
    wait_until(lambda: run.events("serve").count("model") == 2, "the second model")
    assert all_gone([pid for pid in left if pid not in {*before["gateway"], *before["registry"]}])
    run.process.terminate()
    assert 0 == run.end()[0]
    assert all_gone(run.pids())


def test_killed_supervisor(start: Any) -> None:
    """A supervisor that is killed takes its processes along, even one that ignores being asked."""
    run = start({"model": "stubborn"})
    run.line()
    run.process.kill()
    run.process.wait()
    wait_until(lambda: all_gone(run.pids()), "the end of all processes")
    assert [] == run.events("stop")


def test_stubborn_process(start: Any) -> None:
    """A process that does not stop in time is killed, and the others still stop in their order."""
    run = start({"model": "stubborn"}, stop_s=0.2)
    run.line()
    run.process.terminate()
    code, err = run.end()
    assert 0 == code
    assert ["gateway", "registry"] == run.events("stop")
    assert "model did not stop within 0.2 s; killing it" in err
    assert all_gone(run.pids())


def test_second_signal(start: Any) -> None:
    """A second signal kills what is left at once."""
    run = start({"gateway": "stubborn"})
    run.line()
    run.process.terminate()
    wait_until(lambda: run.process.poll() is None, "the first signal")
    run.process.send_signal(signal.SIGINT)
    wait_until(lambda: _again(run), "the end of the supervisor")
    assert 1 == run.end()[0]
    wait_until(lambda: all_gone(run.pids()), "the end of all processes")


def _again(run: Run) -> bool:
    """Whether it has ended; a signal that came before the first one was seen counted as that one."""
    run.process.send_signal(signal.SIGINT)
    return run.process.poll() is not None


def test_broken_service(start: Any) -> None:
    """A service that ends before it was ever ready ends the start, and the others are stopped."""
    run = start({"model": "broken"})
    code, err = run.end()
    assert 1 == code
    assert "error: model ended with status 3 before it was ready; its output is above" in err
    assert all_gone(run.pids())


def test_unusable_settings(start: Any) -> None:
    """The exit code of a service that cannot use its settings is that of the whole."""
    code, err = start({"gateway": "unusable"}).end()
    assert 2 == code
    assert "error: gateway ended with status 2 before it was ready; its output is above" in err


def test_never_ready(start: Any) -> None:
    """A service that does not get ready in time is named with its own reason."""
    run = start({"model": "never_ready"}, ready_s=5.0)
    code, err = run.end()
    assert 1 == code
    assert "error: not ready after 5 s: model: thinking" in err
    assert all_gone(run.pids())


def test_optional_service_that_is_broken(start: Any) -> None:
    """One that the others can do without is started again and again, and they go on."""
    run = start({"model": "broken"}, optional=["model"])
    assert run.line()["ready"] is True
    wait_until(lambda: run.events("start").count("model") >= 3, "two more starts of the model")
    run.process.terminate()
    assert 0 == run.end()[0]
    assert ["gateway", "registry"] == run.events("stop")


def test_optional_service_that_is_slow(start: Any) -> None:
    """Nobody waits for it."""
    run = start({"model": "never_ready"}, optional=["model"])
    assert 1 == len(run.line()["pids"]["model"])
    run.process.terminate()
    assert 0 == run.end()[0]


def test_signal_while_starting(start: Any) -> None:
    """A signal before all is ready stops what has been started, and nothing is announced."""
    run = start({"registry": "never_ready"})
    wait_until(lambda: "registry" in run.events("serve"), "the start of the registry")
    run.process.terminate()
    out, _ = run.process.communicate(timeout=LIMIT_S)
    assert (0, "") == (run.process.returncode, out)
    assert (["registry"], ["registry"]) == (run.events("start"), run.events("stop"))


def _more(count: Callable[[], int], than: int) -> bool:
    return count() > than


def test_asked_to_end(start: Any) -> None:
    """One that somebody else stops is started again at once, however often, and it is no error."""
    run = start()

    def served() -> int:
        names: list[str] = run.events("serve")
        return names.count("model")

    for count in range(3):
        pid = run.line()["pids"]["model"][0]
        wait_until(partial(_more, served, count), "a model that can be asked")
        os.kill(pid, signal.SIGTERM)
    run.line()
    run.process.terminate()
    code, err = run.end()
    assert 0 == code
    assert 3 == err.count("INFO:services.cli.supervision.child:model ended with status 0; starting it again in 0.05 s")
