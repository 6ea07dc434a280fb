"""Ending of processes, whatever state they are in: what a test leaves behind takes the processors of those that follow."""

from __future__ import annotations

import subprocess


def end(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Tell a process to end; kill it where that takes longer than the limit."""
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
