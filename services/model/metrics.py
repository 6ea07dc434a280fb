"""The model service's metrics, read from its counters when they are scraped, so that calls pay nothing for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from services.mesh.telemetry import names
from services.model.counters import Tally
from services.model.engine import Engine
from services.model.serving import Serving
from services.model.station import Station
from services.model.statuses import State

_OF_VERSION = ("model", "version")
_OF_RUNTIME = (*_OF_VERSION, "runtime")

# Name, help and value of what is counted by version; in calls or rows.
_CALLS: tuple[tuple[str, str, Callable[[Serving], float]], ...] = (
    (names.MODEL_CALLS, "Calls answered.", lambda s: s.counters.succeeded.count),
    (names.MODEL_CALL_ERRORS, "Calls that failed.", lambda s: s.counters.failed.count),
    (names.MODEL_ROWS_INVALID, "Rows on which the model failed or was not finite.", lambda s: s.counters.rows_invalid),
)
_WAITING: tuple[tuple[str, str, Callable[[Serving], float]], ...] = (
    (names.MODEL_ROWS_IN_FLIGHT, "Rows under way.", lambda s: s.counters.rows_in_flight),
    (names.MODEL_QUEUE_ROWS, "Rows that wait for a batch.", lambda s: s.queued_rows),
)
# The same by runtime; in rows or seconds.
_BATCHES: tuple[tuple[str, str, Callable[[Station], float]], ...] = (
    (names.MODEL_ROWS, "Rows computed.", lambda s: s.counters.rows),
    (names.MODEL_QUEUE_SECONDS, "Time that the most urgent row of each batch had waited.", lambda s: s.counters.queued.ns / 1e9),
    (names.MODEL_COMPUTE_SECONDS, "Time that batches were computed.", lambda s: s.counters.compute.ns / 1e9),
)  # fmt: skip
_LEARNT: tuple[tuple[str, str, Callable[[Station], float]], ...] = (
    (names.MODEL_BATCH_FIXED_COST, "What any batch costs, as learnt.", lambda s: s.cost.fixed_s),
    (names.MODEL_BATCH_ROW_COST, "What each row of a batch adds, as learnt.", lambda s: s.cost.row_s),
)
_BREAKER_STATES = ("closed", "half-open", "open")


class ModelMetrics(Collector):
    """Collects every version that answers, and the state of every other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Read all counters."""
        servings = self._engine.servings()
        for name, text, of_version in _CALLS:
            yield _filled(CounterMetricFamily(name, text, labels=_OF_VERSION), servings, of_version)
        for name, text, of_version in _WAITING:
            yield _filled(GaugeMetricFamily(name, text, labels=_OF_VERSION), servings, of_version)
        yield _refused(servings)
        stations = [station for serving in servings for station in serving.stations]
        for name, text, of_runtime in _BATCHES:
            yield _filled_by_runtime(CounterMetricFamily(name, text, labels=_OF_RUNTIME), stations, of_runtime)
        for name, text, of_runtime in _LEARNT:
            yield _filled_by_runtime(GaugeMetricFamily(name, text, labels=_OF_RUNTIME), stations, of_runtime)
        yield _batch_rows(stations)
        yield _batch_errors(stations)
        yield _breakers(stations)
        yield self._states()

    def _states(self) -> Metric:
        family = GaugeMetricFamily(
            names.MODEL_STATE, "1 for the state that a version is in.", labels=(*_OF_RUNTIME, "state")
        )
        for status in self._engine.board.current:
            for state in State:
                labels = (status.model, status.version, status.runtime, state.value)
                family.add_metric(labels, status.state is state)
        return family


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, servings: Iterable[Serving], value: Callable[[Serving], float]
) -> Metric:
    for serving in servings:
        family.add_metric((serving.version.model, serving.version.version), value(serving))
    return family


def _filled_by_runtime(
    family: CounterMetricFamily | GaugeMetricFamily, stations: Iterable[Station], value: Callable[[Station], float]
) -> Metric:
    for station in stations:
        family.add_metric(_labels(station), value(station))
    return family


def _refused(servings: Iterable[Serving]) -> Metric:
    text = "Rows that were not computed: there was no room, or no time."
    family = CounterMetricFamily(names.MODEL_ROWS_REFUSED, text, labels=(*_OF_VERSION, "reason"))
    for serving in servings:
        for reason, rows in list(serving.counters.rows_refused.items()):
            family.add_metric((serving.version.model, serving.version.version, reason), rows)
    return family


def _batch_rows(stations: Iterable[Station]) -> Metric:
    family = HistogramMetricFamily(names.MODEL_BATCH_ROWS, "Rows computed at once.", labels=_OF_RUNTIME)
    for station in stations:
        batches = list(station.counters.batches.items())
        family.add_metric(_labels(station), _buckets(batches), sum(rows * tally.count for rows, tally in batches))
    return family


def _batch_errors(stations: Iterable[Station]) -> Metric:
    text = "Batches that a runtime did not answer, whether by its own fault or that of values."
    family = CounterMetricFamily(names.MODEL_BATCH_ERRORS, text, labels=(*_OF_RUNTIME, "reason"))
    for station in stations:
        for reason, count in list(station.counters.failed.items()):
            family.add_metric((*_labels(station), reason), count)
    return family


def _breakers(stations: Iterable[Station]) -> Metric:
    text = "1 for the state that the circuit breaker of a runtime is in."
    family = GaugeMetricFamily(names.MODEL_BREAKER_STATE, text, labels=(*_OF_RUNTIME, "state"))
    for station in stations:
        for state in _BREAKER_STATES:
            family.add_metric((*_labels(station), state), station.breaker.state == state)
    return family


def _labels(station: Station) -> tuple[str, str, str]:
    return station.placement.key


def _buckets(batches: Sequence[tuple[int, Tally]]) -> list[tuple[str, float]]:
    """Count, for each edge, the batches of so many rows or fewer."""
    edges = [*map(float, names.ROWS), float("inf")]
    return [
        ("+Inf" if edge == float("inf") else str(edge), sum(tally.count for rows, tally in batches if rows <= edge))
        for edge in edges
    ]
