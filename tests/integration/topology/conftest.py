"""Four processes whose spans a collector receives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worlds.collector import Collector, Span, collector
from tests.worlds.sandbox import eventually
from tests.worlds.up import Up, up


@pytest.fixture(scope="package")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """The collector."""
    with collector(tmp_path_factory.mktemp("collector")) as running:
        yield running


@pytest.fixture(scope="package")
def running(receiver: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Four processes that send their spans there, and sample only what their callers have sampled."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    with up(tmp_path_factory.mktemp("up"), "--trace-sample-ratio", "0", env=environment) as started:
        yield started


async def arrived(receiver: Collector, trace_id: str, service: str) -> list[Span]:
    """Wait for a trace's span of a service; return the trace."""

    async def there() -> bool:
        return any(span.service == service for span in receiver.trace(trace_id))

    await eventually(there, f"a span of {service}")
    return receiver.trace(trace_id)
