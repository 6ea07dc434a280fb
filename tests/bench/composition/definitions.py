"""What is defined in the mesh: nodes, what is composed of them, and endpoints with ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from predictmesh.registry.v1.graph_pb2 import Graph, Node
from tests.bench.composition.callers import Request
from tests.bench.composition.models import FEATURES, SCORE, WIDTH, Rows, Staged, after, before, network, rows
from tests.bench.composition.trees import trees
from tests.bench.workload import WIDTHS, Floats
from tests.support.onnx_models import OnnxModel
from tests.worlds.graphs import cascade, ensemble, graph, node
from tests.worlds.mesh import Mesh
from tests.worlds.resources import field, tensor, view
from tests.worlds.sandbox import Sandbox

NAMESPACE = "bench"
FIRST = "1.0.0"
STORED = {FEATURES.name: [f"{view}:f{index}" for view, width in WIDTHS.items() for index in range(width)]}
PLAIN, LADDERED, REMEMBERED = "one", "one-laddered", "one-remembered"
LAST_ANSWER_MS = 600_000
STATIC_SCORE = 0.25


@dataclass(frozen=True)
class Definitions:
    """The nodes' models and what they are asked; answers by endpoint [KEYS], or [KEYS, width]."""

    rows: Rows
    models: Mapping[str, tuple[OnnxModel, Mapping[str, Sequence[str]]]]
    graphs: Mapping[str, Graph]
    answers: Mapping[str, Floats]
    given: Mapping[str, dict[str, Floats]]

    def requests(self, endpoint: str) -> list[Request]:
        """Requests of one row for an endpoint, with their answers."""
        given = self.given.get(endpoint)
        return self.rows.requests(f"{NAMESPACE}/{endpoint}", self.answers[endpoint], given, stored=given is None)


def make() -> Definitions:
    """Make all of it; the same each time."""
    asked = rows()
    small = {name: network(seed) for seed, name in enumerate(("one", "two", "three", "four"), start=1)}
    second, scorer, first, last = trees(5, WIDTH), network(6), before(), after()
    staged = Staged(small["one"], second, asked)
    scores = {name: made.scores(asked.features) for name, made in small.items()}
    scaled = first.values(asked.features)
    raw = scorer.scores(scaled)
    by_hand = dict.fromkeys(("mean-of-2-by-hand", "mean-of-4-by-hand", "pipeline-by-hand"), (small["one"].onnx, STORED))
    pair = _mean(scores["one"], scores["two"])
    four = _mean(*scores.values())
    chain = last.values(raw)
    return Definitions(
        rows=asked,
        models={name: (made.onnx, STORED) for name, made in small.items()}
        | {
            "trees": (second.onnx(FEATURES, SCORE), STORED),
            "before": (first.onnx, STORED),
            "scorer": (scorer.onnx, {FEATURES.name: [f"request:{FEATURES.name}"]}),
            "after": (last.onnx, {"raw_score": ["request:raw_score"]}),
        }
        | by_hand,
        graphs={
            "one-composed": graph(_node("one"), score="one"),
            "mean-of-2": _ensemble("one", "two"),
            "mean-of-4": _ensemble("one", "two", "three", "four"),
            "pipeline": _pipeline(),
            "cascade": _cascade(staged.threshold),
        },
        answers=scores
        | {"trees": second.scores(asked.features), "before": scaled, "scorer": raw, "after": chain}
        | {"cascade": staged.answers}
        | {"mean-of-2": pair, "mean-of-4": four, "pipeline": chain}
        | {"mean-of-2-by-hand": pair, "mean-of-4-by-hand": four, "pipeline-by-hand": chain}
        | dict.fromkeys(("one-composed", LADDERED, REMEMBERED), scores["one"]),
        given={"scorer": {FEATURES.name: scaled}, "after": {"raw_score": raw}},
    )


def _mean(*scores: Floats) -> Floats:
    mean: Floats = np.mean(scores, axis=0)
    return mean


def _ensemble(*members: str) -> Graph:
    nodes = [_node(member) for member in members]
    return graph(*nodes, ensemble("mean", "MEAN", members), score="mean")


def _pipeline() -> Graph:
    fed = {"scorer": {FEATURES.name: "before"}, "after": {"raw_score": "scorer"}}
    return graph(_node("before"), *(_node(name, inputs) for name, inputs in fed.items()), score="after")


def _cascade(threshold: float) -> Graph:
    return graph(_node("one"), _node("trees"), cascade("sure", ("one", threshold), "trees"), score="sure")


def _node(name: str, inputs: Mapping[str, str] | None = None) -> Node:
    return node(name, f"{name}@{FIRST}", inputs)


async def define(mesh: Mesh, definitions: Definitions) -> None:
    """Define it all in a running mesh, with an endpoint for each model, and return when all that is there is ready."""
    own = Sandbox(mesh, NAMESPACE)
    await define_views(own, definitions.rows)
    for name, (model, sources) in definitions.models.items():
        await own.serve(name, model, sources)
    for name, made in definitions.graphs.items():
        await own.model(name)
        await own.compose(name, FIRST, made)
        await own.endpoint(name, name, version=FIRST)
    await _define_ladders(own, definitions)


async def define_views(own: Sandbox, rows: Rows) -> None:
    """Define the views and write their values."""
    for name, values in rows.values.items():
        fields = [field(f"f{index}") for index in range(WIDTHS[name])]
        await own.view(view(name, *fields, entity=name, keys={name: "STRING"}))
        keys = [f"{name}-{key}" for key in range(len(values))]
        await own.write(name, {name: keys}, {f"f{at}": column.tolist() for at, column in enumerate(values.T)})


async def _define_ladders(own: Sandbox, definitions: Definitions) -> None:
    """Endpoints to the same version as the plain one, with ladders that it leaves no use for."""
    model, sources = definitions.models["two"]
    await own.register(PLAIN, "2.0.0", model, sources)
    await own.until_runtime(PLAIN, "2.0.0")
    version, last = Fallback(version="2.0.0"), Fallback(last_answer_max_age_ms=LAST_ANSWER_MS)
    static = Fallback(answer=StaticAnswer(outputs=[tensor(SCORE.name, [STATIC_SCORE])]))
    await own.endpoint(LADDERED, PLAIN, version=FIRST, fallbacks=[version, static])
    await own.endpoint(REMEMBERED, PLAIN, version=FIRST, fallbacks=[version, last, static])
