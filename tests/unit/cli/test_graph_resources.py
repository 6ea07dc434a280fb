"""Composed versions: their YAML form, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from predictmesh.registry.v1.graph_pb2 import ConfidenceMeasure, EnsembleMethod
from predictmesh.registry.v1.model_pb2 import Version
from services.cli.errors import Mistake
from services.cli.resources.files import read_resources, read_version_file
from services.cli.resources.versions import show_version

VERSION = """\
kind: Version
model: delay
version: 3.0.0
graph:
  nodes:
    mlp: {model: delay@1.0.0}
    trees: {model: delay@2.0.0, optional: true, defaults: {probability: [0.2], grid: [[1, 2], [3, 4]], label: late}}
    post: {model: tools/calibrate@1.0.0, inputs: {p: mlp.probability, both: [mlp.probability, trees.probability]}}
    mix: {ensemble: weighted_mean, of: {mlp.probability: 0.3, trees.probability: 0.7}}
    all: {ensemble: vote, of: [mlp.label, post, trees.label]}
    sure:
      cascade:
      - {node: mlp, confidence: mlp.probability, measure: probability, threshold: 0.8}
      - {node: post, measure: value, threshold: 0}
      - {node: trees}
  outputs: {probability: sure.probability, mixed: mix, label: all.label}
metrics: {auc: 0.7}
"""


def read(directory: Path, text: str) -> Version:
    """Return the version that the YAML text defines."""
    file = directory / "version.yaml"
    file.write_text(text)
    return read_version_file(file)[1]


def graph(nodes: str, outputs: str = "{p: a}") -> str:
    """Return a document with these nodes and outputs."""
    return f"kind: Version\nmodel: delay\nversion: 3.0.0\ngraph:\n  nodes: {nodes}\n  outputs: {outputs}\n"


def test_what_is_shown_is_what_was_read(tmp_path: Path) -> None:
    """The YAML form of a composed version is the document that it was read from, nodes and outputs in order."""
    shown = show_version("delay", read(tmp_path, VERSION))
    assert yaml.safe_load(VERSION) == shown
    assert ["mlp", "trees", "post", "mix", "all", "sure"] == list(shown["graph"]["nodes"])  # type: ignore[index]


def test_nodes_reach_the_message(tmp_path: Path) -> None:
    """Every property of a node stands in the message where the registry looks for it."""
    mlp, trees, post, mix, vote, sure = read(tmp_path, VERSION).graph.nodes
    assert ("mlp", "delay", "1.0.0", False) == (mlp.name, mlp.model.model, mlp.model.version, mlp.model.optional)
    assert trees.model.optional
    assert ("tools/calibrate", "1.0.0") == (post.model.model, post.model.version)
    assert [("p", [("mlp", "probability")]), ("both", [("mlp", "probability"), ("trees", "probability")])] == [
        (each.input, [(port.node, port.output) for port in each.sources]) for each in post.model.inputs
    ]
    assert EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN == mix.ensemble.method
    assert [("mlp", 0.3), ("trees", 0.7)] == [(each.source.node, each.weight) for each in mix.ensemble.members]
    assert [("mlp", "label"), ("post", ""), ("trees", "label")] == [
        (each.source.node, each.source.output) for each in vote.ensemble.members
    ]
    first, second, last = sure.cascade.stages
    assert ("probability", ConfidenceMeasure.CONFIDENCE_MEASURE_PROBABILITY, 0.8) == (
        first.confidence.output,
        first.measure,
        first.threshold,
    )
    assert ("post", "") == (second.confidence.node, second.confidence.output)
    assert not last.HasField("confidence")


def test_defaults_keep_their_type_open(tmp_path: Path) -> None:
    """Defaults are one row each, of the shape that is written; the registry knows their types."""
    late, grid, label = read(tmp_path, VERSION).graph.nodes[1].model.defaults
    assert {0} == {tensor.data_type for tensor in (late, grid, label)}
    assert ([0.2], [1, 1]) == (list(late.doubles), list(late.shape))
    assert ([1, 2, 3, 4], [1, 2, 2]) == (list(grid.ints), list(grid.shape))
    assert (["late"], []) == (list(label.strings), list(label.shape))


def test_it_is_not_applied(tmp_path: Path) -> None:
    """The mistake says what does register it: nothing but the file."""
    file = tmp_path / "version.yaml"
    file.write_text(VERSION)
    with pytest.raises(Mistake, match=f"predictmesh models register -f {file}$"):
        read_resources([file])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VERSION + "inputs: []\n", "inputs: is that of the versions in the graph: leave it out"),
        (VERSION + "training_profile: {}\n", "training_profile: is that of the versions in the graph"),
        (graph("{}", "[]"), "graph.outputs: must be a mapping, not a list"),
        (graph("{a: {}}"), "graph.nodes.a: must be one of model, ensemble, cascade"),
        (graph("{a: {model: delay}}"), "graph.nodes.a.model: 'delay' is no MODEL@VERSION"),
        (graph("{a: {model: delay@}}"), "graph.nodes.a.model: 'delay@' is no MODEL@VERSION"),
        (graph("{a: {model: d@1.0.0, optionl: 1}}"), r"graph.nodes.a.optionl: unknown key \(did you mean optional\?\)"),
        (graph("{a: {model: d@1.0.0, inputs: {x: b.}}}"), "graph.nodes.a.inputs.x: 'b.' is no output of a node"),
        (graph("{a: {model: d@1.0.0, inputs: {x: [b, 1]}}}"), r"graph.nodes.a.inputs.x\[1\]: must be text"),
        (graph("{a: {model: d@1.0.0, defaults: {}}}"), "graph.nodes.a.defaults: must hold OUTPUT: VALUE"),
        (graph("{a: {model: d@1.0.0, defaults: {p: []}}}"), "graph.nodes.a.defaults.p: must hold values"),
        (
            graph("{a: {model: d@1.0.0, defaults: {p: [[1, 2], [3]]}}}"),
            r"graph.nodes.a.defaults.p\[1\]: has 1 elements",
        ),
        (graph("{a: {model: d@1.0.0, defaults: {p: [a, 1]}}}"), r"graph.nodes.a.defaults.p\[1\]: 1 stands beside text"),
        (
            graph("{a: {model: d@1.0.0, defaults: {p: [1, true]}}}"),
            r"graph.nodes.a.defaults.p\[1\]: True stands beside",
        ),
        (
            graph("{a: {model: d@1.0.0, defaults: {p: null}}}"),
            "graph.nodes.a.defaults.p: None is no value of an output",
        ),
        (graph("{a: {model: d@1.0.0, defaults: {p: &p [*p]}}}"), "graph.nodes.a.defaults.p.*: lists nest at most 32"),
        (graph("{a: {ensemble: median, of: [b, c]}}"), "graph.nodes.a.ensemble: 'median' is none of vote, mean"),
        (graph("{a: {ensemble: mean, of: {b: 1}}}"), "graph.nodes.a.of: must be a list of outputs: only a"),
        (graph("{a: {ensemble: weighted_mean, of: [b, c]}}"), "graph.nodes.a.of: must be a mapping of outputs to"),
        (graph("{a: {ensemble: weighted_mean, of: {b: much}}}"), "graph.nodes.a.of.b: must be a number"),
        (graph(f"{{a: {{ensemble: weighted_mean, of: {{b: {'9' * 400}}}}}}}"), "graph.nodes.a.of.b: must be finite"),
        (graph("{a: {ensemble: weighted_mean, of: {b.: 1}}}"), "graph.nodes.a.of.b.: 'b.' is no output of a node"),
        (graph("{a: {cascade: [{node: b}, {node: c}]}}"), r"graph.nodes.a.cascade\[0\]: threshold is missing"),
        (
            graph("{a: {cascade: [{node: b.p, threshold: 1}, {node: c}]}}"),
            r"graph.nodes.a.cascade\[0\].node: 'b.p' is an output, and a stage is a node: b, with `confidence: b.p`",
        ),
        (
            graph("{a: {cascade: [{node: b, threshold: 1, measure: odds}, {node: c}]}}"),
            r"graph.nodes.a.cascade\[0\].measure: 'odds' is none of probability, value",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Whatever is wrong is refused before anything is sent, and the message says where it stands."""
    with pytest.raises(Mistake, match=f"document 1, {message}"):
        read(tmp_path, text)
