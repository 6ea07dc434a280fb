"""The preprocessing graph: from raw stored values, ages and schedule to what an estimator can use.

It runs once offline, to make the training matrix, and is then welded in front of the estimator, so that no other code
ever computes a feature. Its output has no NaN, whatever is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx

from deploy.demo.flight_delay.builder import GraphBuilder
from deploy.demo.flight_delay.definitions import Input, seconds

OUTPUT = "features"
PRIOR_RATE = 0.2
PRIOR_DELAY_MIN = 12.0
PRIOR_WEIGHT = 1.0
"""Departures that the prior counts for: a key with nothing recent is judged by the prior alone."""
TURNAROUND_S = 86_400.0
"""An aircraft's last departure says nothing about the next one after a day."""

GRID = 4096.0
"""A power of two, so that every value on the grid, and the middle between two, is exact in float32."""

# Typical value and spread; a missing value becomes the typical one, and an outlier at most five spreads.
STATIC_SCALES = {
    "plane:year_built": (2001.0, 6.0),
    "plane:engines": (2.0, 0.5),
    "plane:seats": (140.0, 70.0),
    "origin_weather:temp": (56.0, 18.0),
    "origin_weather:dewp": (41.0, 19.0),
    "origin_weather:humid": (60.0, 20.0),
    "origin_weather:wind_speed": (10.5, 5.5),
    "origin_weather:wind_gust": (16.0, 10.0),
    "origin_weather:precip": (0.0, 0.05),
    "origin_weather:pressure": (1018.0, 7.5),
    "origin_weather:visib": (10.0, 2.0),
}

# A block of features: the tensor that holds them, and its width.
Block = tuple[str, int]


def preprocessing(inputs: Sequence[Input]) -> onnx.ModelProto:
    """The graph for a version's inputs, each FP32 [N, sources]; one output `features`, FP32 [N, F]."""
    graph = GraphBuilder()
    sources = _Sources(graph, inputs)
    parts: tuple[Callable[[GraphBuilder, _Sources], list[Block]], ...] = (_lateness, _turnaround, _static, _schedule)
    blocks = [block for part in parts for block in part(graph, sources)]
    joined = graph.op("Concat", *(tensor for tensor, _ in blocks), axis=1)
    width = sum(width for _, width in blocks)
    shapes = {entry.name: len(entry.sources) for entry in inputs}
    return graph.model("preprocessing", shapes, {OUTPUT: _snapped(graph, joined)}, {OUTPUT: width})


def _snapped(graph: GraphBuilder, values: str) -> str:
    """Values on a grid of 1 / GRID.

    The last bit of an exponential or a sine depends on how many rows are computed together. Trees learn thresholds
    between such bits, and then answer one request differently in different company.
    """
    return graph.op("Div", graph.op("Round", graph.op("Mul", values, graph.floats(GRID))), graph.floats(GRID))


class _Sources:
    """Finds the columns of named sources in the model inputs."""

    def __init__(self, graph: GraphBuilder, inputs: Sequence[Input]) -> None:
        self._graph = graph
        self._places = {source: (entry.name, i) for entry in inputs for i, source in enumerate(entry.sources)}

    @property
    def counters(self) -> list[tuple[str, str]]:
        """View and half-life of every counter among the sources."""
        found = (source.split(":late_") for source in self._places if ":late_" in source)
        return [(view, half_life) for view, half_life in found]

    def take(self, names: Sequence[str]) -> str:
        """A tensor [N, names] of sources that share an input, in the order asked for."""
        (owner,) = {self._places[name][0] for name in names}
        positions = self._graph.integers([self._places[name][1] for name in names])
        return self._graph.op("Gather", owner, positions, axis=1)


def _lateness(graph: GraphBuilder, sources: _Sources) -> list[Block]:
    """Late rate, mean delay and log weight of every counter, each decayed from its event time to as_of."""
    counters = sources.counters
    age = sources.take([f"{view}.age" for view, _ in counters])
    kept = _kept(graph, age, [seconds(text) for _, text in counters])
    late, delay, weight = (
        graph.op("Mul", sources.take([f"{view}:{kind}_{text}" for view, text in counters]), kept)
        for kind in ("late", "delay", "weight")
    )
    total = graph.op("Add", weight, graph.floats(PRIOR_WEIGHT))
    rate = graph.op("Div", graph.op("Add", late, graph.floats(PRIOR_RATE * PRIOR_WEIGHT)), total)
    mean = graph.op("Div", graph.op("Add", delay, graph.floats(PRIOR_DELAY_MIN * PRIOR_WEIGHT)), total)
    return [(tensor, len(counters)) for tensor in (rate, mean, graph.op("Log", total))]


def _kept(graph: GraphBuilder, age: str, half_lives: Sequence[float]) -> str:
    """What is left of a count after its age: 2 ** -(age / half-life), and nothing where there is no row."""
    rates = graph.floats([-math.log(2) / half_life for half_life in half_lives])
    decay = graph.op("Exp", graph.op("Mul", age, rates))
    return graph.op("Where", graph.op("IsNaN", age), graph.floats(0.0), decay)


def _turnaround(graph: GraphBuilder, sources: _Sources) -> list[Block]:
    """Minutes since the aircraft last left New York and how late it was; a day and on time if longer ago or never."""
    age = sources.take(["tail_lateness.age"])
    delay = sources.take(["tail_lateness:last_delay"])
    # A comparison with NaN is false, so that an aircraft never seen falls to the same side as one seen long ago.
    recent = graph.op("Less", age, graph.floats(TURNAROUND_S))
    since = graph.op("Where", recent, age, graph.floats(TURNAROUND_S))
    telling = graph.op("And", recent, graph.op("Not", graph.op("IsNaN", delay)))
    cut = graph.op("Clip", delay, graph.floats(-30.0), graph.floats(180.0))
    return [
        (graph.op("Div", since, graph.floats(60.0)), 1),
        (graph.op("Where", telling, cut, graph.floats(0.0)), 1),
    ]


def _static(graph: GraphBuilder, sources: _Sources) -> list[Block]:
    """Aircraft facts and weather, scaled and filled, with a flag for each that says whether it was missing."""
    blocks = []
    for view in ("plane", "origin_weather"):
        names = [name for name in STATIC_SCALES if name.startswith(f"{view}:")]
        values = sources.take(names)
        missing = graph.op("IsNaN", values)
        blocks += [
            (graph.op("Where", missing, graph.floats(0.0), _scaled(graph, values, names)), len(names)),
            (graph.op("Cast", missing, to=onnx.TensorProto.FLOAT), len(names)),
        ]
    return blocks + _wind_direction(graph, sources)


def _scaled(graph: GraphBuilder, values: str, names: Sequence[str]) -> str:
    centred = graph.op("Sub", values, graph.floats([STATIC_SCALES[name][0] for name in names]))
    spread = graph.op("Div", centred, graph.floats([STATIC_SCALES[name][1] for name in names]))
    return graph.op("Clip", spread, graph.floats(-5.0), graph.floats(5.0))


def _wind_direction(graph: GraphBuilder, sources: _Sources) -> list[Block]:
    degrees = sources.take(["origin_weather:wind_dir"])
    missing = graph.op("IsNaN", degrees)
    calm = graph.floats(0.0)
    return [(graph.op("Where", missing, calm, tensor), 1) for tensor in _cycle(graph, degrees, 360.0)]


def _schedule(graph: GraphBuilder, sources: _Sources) -> list[Block]:
    """Hour of the day (plain for its trend, cyclic for midnight), day of the week and distance."""
    minutes = graph.op("Div", sources.take(["request:minute"]), graph.floats(60.0))
    hour = graph.op("Add", sources.take(["request:hour"]), minutes)
    weekday = sources.take(["request:weekday"])
    distance = graph.op("Log", sources.take(["request:distance"]))
    cyclic = (*_cycle(graph, hour, 24.0), *_cycle(graph, weekday, 7.0))
    return [(tensor, 1) for tensor in (hour, *cyclic, distance)]


def _cycle(graph: GraphBuilder, value: str, period: float) -> tuple[str, str]:
    angle = graph.op("Mul", value, graph.floats(2 * math.pi / period))
    return graph.op("Sin", angle), graph.op("Cos", angle)
