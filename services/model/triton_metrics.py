"""Triton's own metrics among ours, fetched when ours are scraped."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.mesh.telemetry import names

_LIMIT_S = 1.0
_PREFIX = "nv_"


class TritonMetrics(Collector):
    """Collects what Triton says of itself, under its names; nothing but that it is not up while it does not answer."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)

    def describe(self) -> Iterable[Metric]:
        """Describe nothing, or the registry would scrape Triton to find out."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Fetch everything, in the thread of the scrape."""
        up = GaugeMetricFamily(names.TRITON_UP, "1 while Triton tells its metrics.")
        try:
            families = list(_families(self._fetch()))
        except (OSError, http.client.HTTPException, ValueError):
            families = []
        up.add_metric((), bool(families))
        yield up
        yield from families

    def _fetch(self) -> str:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_LIMIT_S)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def _families(text: str) -> Iterator[Metric]:
    for family in text_string_to_metric_families(text):
        if not family.name.startswith(_PREFIX):
            continue
        if family.type == "counter":
            # A counter is called NAME_total here, which Triton and the dashboards for it do not.
            family.type = "unknown"
            family.samples = [sample._replace(name=family.name) for sample in family.samples]
        yield family
