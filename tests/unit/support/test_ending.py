"""Ending of processes that tests have started."""

from __future__ import annotations

import signal
import subprocess

from tests.support.ending import end


def test_process_that_does_not_listen_is_killed() -> None:
    """So that none is left behind."""
    deaf = "trap '' TERM; echo ready; while :; do read line; done"
    process = subprocess.Popen(["bash", "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert b"ready\n" == process.stdout.readline()
        end(process, 0.1)
    assert -signal.SIGKILL == process.returncode


def test_process_that_listens_ends_by_itself() -> None:
    """It is not killed."""
    process = subprocess.Popen(["sleep", "60"])
    end(process, 30)
    assert -signal.SIGTERM == process.returncode
