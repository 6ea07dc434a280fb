"""Triton's perf_analyzer, the program with which people measure a server of the Open Inference Protocol.

`make perf-analyzer` installs it. Two libraries that it needs are Triton's; where either is missing the test is skipped, or
fails under CI=true.
"""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.parts import lacking
from tests.support.triton import installed_triton

PROGRAM = Path(sys.prefix) / "perf-analyzer" / "bin" / "perf_analyzer"
LIMIT_S = 60
# As the program asks for them, and as the wheel of Triton has renamed them.
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
# Windows of so many milliseconds, three at most, however much they differ: it shall run, not measure.
_SHORT = ("--measurement-interval", "300", "--max-trials", "3", "--stability-percentage", "999")


@dataclass(frozen=True)
class Measured:
    """What it says of so many callers at once: requests times rows a second, and what else it printed."""

    callers: int
    rows_per_second: float
    output: str


async def perf_analyzer(directory: Path, address: str, model: str, *options: str) -> list[Measured]:
    """Ask `model` at `address` by one caller and by eight; its files lie in `directory`."""
    report = directory / "report.csv"
    command = [str(_program()), "-i", "grpc", "-u", address, "-m", model, "--concurrency-range", "1:8:7"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *_SHORT,
        *options,
        *("-f", str(report)),
        env=os.environ | {"LD_LIBRARY_PATH": str(_libraries(directory / "lib"))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
    output = printed.decode()
    assert process.returncode == 0, output
    with report.open() as file:
        rows = list(csv.DictReader(file))
    return [Measured(int(row["Concurrency"]), float(row["Inferences/Second"]), output) for row in rows]


def _program() -> Path:
    if not PROGRAM.exists():
        lacking("perf_analyzer is not installed (`make perf-analyzer` does it)")
    return PROGRAM


def _libraries(directory: Path) -> Path:
    """Link the libraries under the names that it asks for; a Triton that brings its own system has them there."""
    directory.mkdir(parents=True, exist_ok=True)
    installation = installed_triton()
    if installation.environment is None:
        return directory
    for name, pattern in _LIBRARIES.items():
        found = next(installation.environment.glob(f"lib/python*/site-packages/nvidia_pytriton.libs/{pattern}"), None)
        if found is None:
            lacking(f"Triton has no {name}, which perf_analyzer needs")
        if not (directory / name).exists():
            (directory / name).symlink_to(found)
    return directory
