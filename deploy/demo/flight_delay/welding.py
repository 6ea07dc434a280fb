"""Joins the preprocessing graph and a trained estimator into the one model that is served."""

from __future__ import annotations

import onnx
from onnx import compose
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator

from deploy.demo.flight_delay.builder import IR_VERSION, OPSETS, GraphBuilder
from deploy.demo.flight_delay.graph import OUTPUT as FEATURES
from deploy.demo.flight_delay.network import INPUT, PROBABILITY, Network


def weld(preprocessing: onnx.ModelProto, estimator: BaseEstimator | Network) -> onnx.ModelProto:
    """The model from raw inputs to `probability`, FP32 [N, 1]."""
    width = preprocessing.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    scorer = estimator.to_onnx(width) if isinstance(estimator, Network) else _converted(estimator, width)
    model = compose.merge_models(
        preprocessing,
        compose.add_prefix(scorer, "estimator/"),
        io_map=[(FEATURES, f"estimator/{INPUT}")],
        outputs=[f"estimator/{PROBABILITY}"],
    )
    model = _renamed_output(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _converted(estimator: BaseEstimator, width: int) -> onnx.ModelProto:
    """An estimator of scikit-learn as a graph from `input` to `probability`."""
    model = to_onnx(
        estimator,
        initial_types=[(INPUT, FloatTensorType([None, width]))],
        options={"zipmap": False},
        target_opset=OPSETS,
    )
    # The converter names the oldest operator set that would do; merging wants the same on both sides.
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in OPSETS.items())
    model.ir_version = IR_VERSION
    # Its own tensors may be named as ours are.
    last = compose.add_prefix(_late_column(), "last/", rename_outputs=False)
    return compose.merge_models(model, last, io_map=[("probabilities", "last/both")], outputs=[PROBABILITY])


def _late_column() -> onnx.ModelProto:
    graph = GraphBuilder()
    late = graph.op("Gather", "both", graph.integers([1]), axis=1)
    return graph.model("late", {"both": 2}, {PROBABILITY: late}, {PROBABILITY: 1})


def _renamed_output(model: onnx.ModelProto) -> onnx.ModelProto:
    (output,) = model.graph.output
    for node in model.graph.node:
        if output.name in node.output:
            node.output[:] = [PROBABILITY]
    output.name = PROBABILITY
    return model
