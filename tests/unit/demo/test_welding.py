"""The welded model: raw inputs in, one probability out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from deploy.demo.flight_delay import estimators, graph
from deploy.demo.flight_delay.definitions import Version, View
from deploy.demo.flight_delay.estimators import Sample
from deploy.demo.flight_delay.histories import Histories
from deploy.demo.flight_delay.pipeline import score
from deploy.demo.flight_delay.table import model_inputs, source_columns
from deploy.demo.flight_delay.welding import weld


# skl2onnx hands booleans to a field of integers, which protobuf 6 still takes.
@pytest.mark.filterwarnings("default:Field onnx.AttributeProto.ints:DeprecationWarning")
@pytest.mark.parametrize("train", estimators.ESTIMATORS.values(), ids=estimators.ESTIMATORS)
def test_a_welded_model_scores_raw_inputs_as_its_estimator_scores_features(
    train: Callable[[Sample, Sample], BaseEstimator],
    version: Version,
    departures: pd.DataFrame,
    views: dict[str, View],
    rows: Histories,
) -> None:
    """Same probabilities, under the names and shapes that the version declares."""
    sample = departures.iloc[::6]
    tensors = model_inputs(version, source_columns(version.sources, sample, views, rows))
    head = graph.preprocessing(version.inputs)
    features, late = score(head, tensors), sample["late"].to_numpy()
    estimator = train(Sample(features[:2500], late[:2500]), Sample(features[2500:], late[2500:]))
    model = weld(head, estimator)

    expected = estimator.predict_proba(features)[:, 1:]
    np.testing.assert_allclose(score(model, tensors), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [("probability", ["N", 1], "tensor(float)")] == [(o.name, o.shape, o.type) for o in session.get_outputs()]
    assert {entry.name: ["N", len(entry.sources)] for entry in version.inputs} == {
        entry.name: entry.shape for entry in session.get_inputs()
    }
