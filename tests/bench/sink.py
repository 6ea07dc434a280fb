"""Where spans go while it is measured what making them costs: to a collector that is not ours, and that drops them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import rotel

from tests.worlds.ports import port_row

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_AGENT = Path(rotel.__file__).parent / "rotel-agent"
_START_LIMIT_S = 10


@contextmanager
def sink(directory: Path) -> Iterator[None]:
    """Run it, and tell every process that is started for the time of the context of it.

    The receiver of `up` keeps spans to show them, which is work that is done elsewhere where there is much to do.
    """
    port = port_row(2)
    command = [str(_AGENT), "start", "--exporter", "blackhole", "--pid-file", str(directory / "sink.pid")]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{port + 1}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(_START_LIMIT_S)
            os.environ[ENDPOINT] = f"http://127.0.0.1:{port}"
            yield
        finally:
            os.environ.pop(ENDPOINT, None)
            process.terminate()
