"""Killing Triton in mid-replay: when, whom, and what is made of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.flight_delay.online.answers import Answers
from deploy.demo.flight_delay.online.chaos import Chaos, ChaosSummary, summarize_chaos
from deploy.demo.flight_delay.online.computed import Computed
from deploy.demo.flight_delay.online.triton import Triton, chosen, require_for_chaos
from services.cli.errors import Mistake
from services.cli.triton.choice import OWN
from tests.support.waiting import eventually

ON_TRITON, INSTEAD = Computed("triton"), Computed("onnx", "RUNTIME_FAILED")


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for ever."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        yield process
        process.kill()


@pytest.fixture
def no_triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which none is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv(OWN, raising=False)


def answers_of(*rows: tuple[float, Computed], version: str = "2.0.0") -> Answers:
    """Answers at moments, and what computed them."""
    answers = Answers(version)
    for moment, by in rows:
        answers.moments.append(moment)
        answers.computed.append(by)
    return answers


def killed(killed_s: float, settled_s: float) -> Chaos:
    """Chaos that has struck."""
    chaos = Chaos(Path(), 10)
    chaos.killed_s, chaos.settled_s = killed_s, settled_s
    return chaos


async def test_triton_is_killed_once_after_so_many_departures(tmp_path: Path, victim: subprocess.Popen[bytes]) -> None:
    """Not before; and what was under way then has ended with the next step of time."""
    line = {"supervisor": os.getpid(), "pids": {"triton": [victim.pid]}}
    (tmp_path / "up.json").write_text(json.dumps(line))
    chaos = Chaos(tmp_path, 10)
    chaos.advance(9)
    assert victim.poll() is None
    chaos.advance(1)
    await eventually(lambda: victim.poll() is not None)
    assert -signal.SIGKILL == victim.returncode
    first, settled = chaos.killed_s, chaos.settled_s
    assert settled is None
    chaos.advance(1)
    assert first is not None
    assert chaos.settled_s is not None
    assert chaos.settled_s > first == chaos.killed_s


def test_only_rows_after_all_that_was_under_way_are_rows_of_a_triton_that_has_returned() -> None:
    """An answer of the killed one may arrive after the kill."""
    rows = [(1.0, ON_TRITON), (2.1, ON_TRITON), (2.2, INSTEAD), (3.0, INSTEAD), (4.5, ON_TRITON), (5.0, ON_TRITON)]
    onnx_only = answers_of((1.0, Computed("onnx")), (3.0, Computed("onnx")), version="1.0.0")
    found = summarize_chaos(killed(2.0, 2.5), {"2.0.0": answers_of(*rows), "1.0.0": onnx_only})
    assert ChaosSummary(killed_after=10, killed=True, stood_in=2, silent=0, returned=2, returned_s=2.5) == found
    assert [] == found.problems()


def test_a_stand_in_that_does_not_say_so_is_told() -> None:
    """Which version Triton computes is seen from its rows."""
    rows = [(1.0, ON_TRITON), (2.2, INSTEAD), (3.0, Computed("onnx")), (4.5, ON_TRITON)]
    assert summarize_chaos(killed(2.0, 2.5), {"2.0.0": answers_of(*rows)}).silent == 1


def test_a_triton_that_stays_away_is_told() -> None:
    """As is one that was never killed."""
    rows = [(1.0, ON_TRITON), (2.2, INSTEAD), (3.0, INSTEAD)]
    found = summarize_chaos(killed(2.0, 2.5), {"2.0.0": answers_of(*rows)})
    assert (0, None) == (found.returned, found.returned_s)
    assert not summarize_chaos(Chaos(Path(), 10), {"2.0.0": answers_of(*rows)}).killed


def test_chaos_without_a_triton_is_refused(no_triton: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything has started, and with the remedy."""
    with pytest.raises(Mistake, match="--triton off"):
        require_for_chaos("off")
    with pytest.raises(Mistake, match="--chaos kills Triton: "):
        require_for_chaos("auto")
    monkeypatch.setenv(OWN, "127.0.0.1:8001")
    with pytest.raises(Mistake, match=f"{OWN} names another"):
        require_for_chaos("auto")


def test_the_report_says_whether_there_is_a_triton_and_why_not(
    no_triton: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what `up` says, the choice, or the machine."""
    assert Triton(True, "runs at 127.0.0.1:8001") == chosen("auto", {"triton": {"grpc": "127.0.0.1:8001"}})
    assert Triton(False, "not used, as --triton off says") == chosen("off", {})
    nowhere = chosen("auto", {})
    assert (False, True) == (nowhere.used, nowhere.words.startswith("not used: "))
    monkeypatch.setenv(OWN, "127.0.0.1:8001")
    assert chosen("auto", {}).used
