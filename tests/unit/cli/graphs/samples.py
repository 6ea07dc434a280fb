"""A composed version with one of each kind of node, and the versions that it is made of."""

from __future__ import annotations

from collections.abc import Sequence

from predictmesh.registry.v1.graph_pb2 import EnsembleMethod, Port
from predictmesh.registry.v1.model_pb2 import Model, Source, TensorSpec, Version
from services.cli.resources import sources
from services.cli.values import DATA_TYPES

FEATURES = ("plane:year", "plane:seats", "plane.age", "tail_lateness:mean", "request:hour", "request:distance")


def spec(name: str, data_type: str, *shape: int) -> TensorSpec:
    """A named input or output."""
    return TensorSpec(name=name, data_type=DATA_TYPES[data_type], shape=shape)


def plain(version: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], *texts: str) -> Version:
    """A version with one input that is bound to sources in their text forms."""
    made = Version(version=version)
    made.signature.inputs.extend(inputs)
    made.signature.outputs.extend(outputs)
    bound: list[Source] = [sources.parse(text) for text in texts or FEATURES]
    made.bindings.add(input=inputs[0].name, sources=bound)
    return made


def port(text: str) -> Port:
    """`node.output`, or `node`."""
    node, _, output = text.partition(".")
    return Port(node=node, output=output)


def composed() -> Version:
    """A cascade of `mlp`, then a mean of it and of `trees` after `post`; nodes stand in the reverse of their order."""
    made = Version(version="3.0.0")
    sure = made.graph.nodes.add(name="sure").cascade
    sure.stages.add(node="mlp", confidence=port("mlp"), threshold=0.8)
    sure.stages.add(node="both")
    both = made.graph.nodes.add(name="both").ensemble
    both.method = EnsembleMethod.ENSEMBLE_METHOD_WEIGHTED_MEAN
    both.members.add(source=port("mlp.probability"), weight=0.3)
    both.members.add(source=port("post"), weight=0.7)
    post = made.graph.nodes.add(name="post").model
    post.model, post.version = "tools/calibrate", "1.0.0"
    post.inputs.add(input="scores", sources=[port("mlp"), port("trees.probability")])
    trees = made.graph.nodes.add(name="trees").model
    trees.model, trees.version, trees.optional = "delay", "2.0.0", True
    trees.defaults.add(name="probability", floats=[0.2], data_type=DATA_TYPES["FP32"], shape=[1, 1])
    trees.defaults.add(name="classes", ints=[1, 2], data_type=DATA_TYPES["INT64"], shape=[1, 2])
    mlp = made.graph.nodes.add(name="mlp").model
    mlp.model, mlp.version = "delay", "1.0.0"
    made.graph.outputs.add(name="probability", source=port("sure.probability"))
    made.graph.outputs.add(name="raw", source=port("trees.probability"))
    return made


def models() -> dict[str, Model]:
    """The models with all their versions."""
    probability = spec("probability", "FP32", 1)
    delay = [
        plain("1.0.0", [spec("X", "FP32", 12)], [probability]),
        plain("2.0.0", [spec("X", "FP32", 14)], [probability, spec("classes", "INT64", 2)]),
        composed(),
    ]
    calibrate = plain("1.0.0", [spec("scores", "FP32", 2)], [probability], "request:scores")
    return {
        "delay": Model(name="delay", versions=delay, aliases={"live": "3.0.0"}, released_versions=["1.0.0", "2.0.0"]),
        "tools/calibrate": Model(name="tools/calibrate", versions=[calibrate]),
    }
