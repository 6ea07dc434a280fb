"""The model service's metrics, read from its counters when they are scraped, so that calls pay nothing for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from services.mesh.telemetry import names
from services.model.counters import Counters, Tally
from services.model.engine import Engine
from services.model.statuses import State

_LABELS = ("model", "version", "runtime")

# Name, help and value of each counter; in rows or seconds.
_TOTALS: tuple[tuple[str, str, Callable[[Counters], float]], ...] = (
    (names.MODEL_CALLS, "Calls answered.", lambda c: c.succeeded.count),
    (names.MODEL_CALL_ERRORS, "Calls that failed.", lambda c: c.failed.count),
    (names.MODEL_ROWS, "Rows computed.", lambda c: c.rows_computed),
    (names.MODEL_ROWS_REFUSED, "Rows refused because too many were under way.", lambda c: c.rows_refused),
    (names.MODEL_ROWS_EXPIRED, "Rows not computed because their time was over.", lambda c: c.rows_expired),
    (names.MODEL_ROWS_INVALID, "Rows on which the model failed or was not finite.", lambda c: c.rows_invalid),
    (names.MODEL_QUEUE_SECONDS, "Time that batches waited for their turn.", lambda c: c.queued.ns / 1e9),
    (names.MODEL_COMPUTE_SECONDS, "Time that batches were computed.", lambda c: c.compute_ns / 1e9),
)


class ModelMetrics(Collector):
    """Collects every version that answers, and the state of every other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Read all counters."""
        counters = {
            (serving.version.model, serving.version.version, serving.runtime.name): serving.counters
            for serving in self._engine.servings()
        }
        yield from _totals(counters)
        yield _batch_rows(counters)
        in_flight = GaugeMetricFamily(names.MODEL_ROWS_IN_FLIGHT, "Rows under way.", labels=_LABELS)
        for labels, of_version in counters.items():
            in_flight.add_metric(labels, of_version.rows_in_flight)
        yield in_flight
        yield self._states()

    def _states(self) -> Metric:
        family = GaugeMetricFamily(
            names.MODEL_STATE, "1 for the state that a version is in.", labels=(*_LABELS, "state")
        )
        for status in self._engine.board.current:
            for state in State:
                labels = (status.model, status.version, status.runtime, state.value)
                family.add_metric(labels, status.state is state)
        return family


def _totals(counters: Mapping[tuple[str, str, str], Counters]) -> Iterator[Metric]:
    for name, text, value in _TOTALS:
        family = CounterMetricFamily(name, text, labels=_LABELS)
        for labels, of_version in counters.items():
            family.add_metric(labels, value(of_version))
        yield family


def _batch_rows(counters: Mapping[tuple[str, str, str], Counters]) -> Metric:
    family = HistogramMetricFamily(names.MODEL_BATCH_ROWS, "Rows computed at once.", labels=_LABELS)
    for labels, of_version in counters.items():
        batches = list(of_version.batches.items())
        family.add_metric(labels, _buckets(batches), sum(rows * tally.count for rows, tally in batches))
    return family


def _buckets(batches: Iterable[tuple[int, Tally]]) -> list[tuple[str, float]]:
    """Count, for each edge, the batches of so many rows or fewer."""
    edges = [*map(float, names.ROWS), float("inf")]
    return [
        ("+Inf" if edge == float("inf") else str(edge), sum(tally.count for rows, tally in batches if rows <= edge))
        for edge in edges
    ]
