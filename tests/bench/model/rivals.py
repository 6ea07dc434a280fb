"""What is measured: the model service with each way to batch, and a Triton of its own behind each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.cli.supervision.topology import GRPC
from tests.bench.model.ledger import PREFIX
from tests.support.triton import TritonServer, triton_server

STOP_LIMIT_S = 30
MAX_BATCH_ROWS = 256
_METRIC = re.compile(r"^(\w+)(?:{(.*)})? ([-+.\dea-zA-Z]+)$", re.MULTILINE)
_CODE = re.compile(r'rpc_status_code="(\w+)"')


@dataclass(frozen=True)
class Rival:
    """A model service and the Triton behind it: where each answers, and its processes."""

    name: str
    target: str
    http: str
    triton: TritonServer
    pid: int
    max_batch_rows: int

    @property
    def triton_pids(self) -> list[int]:
        """Triton and its Python processes."""
        assert self.triton.process is not None
        return [self.triton.process.pid, *(stub.pid for stub in self.triton.stubs())]

    def calls(self) -> dict[str, int]:
        """Return the calls of ModelInfer so far by status."""
        name = "rpc_server_call_duration_seconds_count"
        found = [(labels, value) for labels, value in self._metrics(name) if 'rpc_method="ModelInfer"' in labels]
        codes = [(_CODE.search(labels), value) for labels, value in found]
        return {code[1]: int(value) for code, value in codes if code}

    def rows(self) -> dict[str, float]:
        """Return the rows computed so far, those that were sent for nobody, and those that came late."""
        kinds = ("computed", "gone", "late")
        return {kind: sum(value for _, value in self._metrics(f"{PREFIX}_{kind}_total")) for kind in kinds}

    def learnt(self) -> Mapping[str, float]:
        """Return what it has learnt of a batch's cost, in seconds."""
        return {
            kind: sum(value for _, value in self._metrics(f"predictmesh_model_batch_{kind}_cost_seconds"))
            for kind in ("fixed", "row")
        }

    def _metrics(self, name: str) -> list[tuple[str, float]]:
        with urllib.request.urlopen(f"http://{self.http}/metrics") as answer:
            text = answer.read().decode()
        return [(labels, float(value)) for found, labels, value in _METRIC.findall(text) if found == name]


@asynccontextmanager
async def rival(
    name: str, batching: str, directory: Path, max_batch_rows: int = MAX_BATCH_ROWS
) -> AsyncIterator[Rival]:
    """Start both and wait until the workload answers; `batching` as service.py names it."""
    async with triton_server(directory / f"{batching}-{max_batch_rows}") as triton:
        command = [sys.executable, "-m", "tests.bench.model.service", batching, "--triton", triton.grpc,
                   "--triton-repository", str(triton.repository), "--max-batch-rows", str(max_batch_rows)]  # fmt: skip
        with subprocess.Popen(  # noqa: ASYNC220 - quick, and nothing else runs here
            command, env=os.environ | GRPC, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"the model service of {name} did not start")
                ready = json.loads(line)
                yield Rival(name, ready["grpc"], ready["http"], triton, process.pid, max_batch_rows)
            finally:
                process.stdin.close()
                process.wait(STOP_LIMIT_S)
