"""Gateways are looked at twice, and add up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from services.cli.errors import Failure
from services.cli.graphs.flow import NODE_ROWS
from services.cli.graphs.metrics import count
from services.cli.graphs.sampling import measure
from services.cli.targets import Replica


@contextmanager
def gateway(step: int, status: int = 200) -> Iterator[Replica]:
    """A gateway whose counter grows by `step` each time that it is looked at."""
    looks = 0

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal looks
            looks += 1
            self.send_response(status)
            self.end_headers()
            series = f'{NODE_ROWS}_total{{node="mlp",state="computed"}} {looks * step}'
            self.wfile.write(f"# TYPE {NODE_ROWS}_total counter\n{series}\n".encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Replica("gateway", f"127.0.0.1:{server.server_port}", "--http")
        finally:
            server.shutdown()
            thread.join()


def test_gateways_add_up() -> None:
    """What each has counted between the two looks, and how long that was."""
    with gateway(3) as one, gateway(4) as other:
        measured = measure([one, other], 0.02, 5)
    assert 7 == count(measured.counts, f"{NODE_ROWS}_total", node="mlp")
    assert 0.02 <= measured.seconds < 5


def test_one_is_away() -> None:
    """A gateway without metrics is named: figures of the others alone would be wrong."""
    refused = pytest.raises(Failure, match=r"\(--http\) has no metrics: status 404")
    with gateway(3) as one, gateway(4, status=404) as other, refused as raised:
        measure([one, other], 0.02, 5)
    assert other.address in str(raised.value)
