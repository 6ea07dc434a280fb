"""Four processes, and Triton where it is installed; a collector receives their spans, and Prometheus scrapes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.prometheus import Prometheus, prometheus
from tests.worlds.collector import Collector, Span, collector
from tests.worlds.sandbox import eventually
from tests.worlds.up import Up, up


@pytest.fixture(scope="package")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """The collector."""
    with collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="package")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the processes log."""
    return tmp_path_factory.mktemp("up") / "log"


@pytest.fixture(scope="package")
def running(receiver: Collector, log: Path) -> Iterator[Up]:
    """Processes that send their spans there, and sample only what their callers have sampled."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": receiver.traces_url}
    with up(log.parent, "--trace-sample-ratio", "0", env=env, triton="auto") as started:
        yield started


@pytest.fixture(scope="package")
def metrics(running: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """What Prometheus knows of them."""
    with prometheus(tmp_path_factory.mktemp("prometheus"), running.line["http"]) as server:
        yield server


async def arrived(receiver: Collector, trace_id: str, service: str) -> list[Span]:
    """Wait for a trace's span of a service; return the trace."""

    async def there() -> bool:
        return any(span.service == service for span in receiver.trace(trace_id))

    await eventually(there, f"a span of {service}")
    return receiver.trace(trace_id)
