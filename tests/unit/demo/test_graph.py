"""The preprocessing graph, run by ONNX Runtime."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from numpy.typing import NDArray

from deploy.demo.flight_delay import graph
from deploy.demo.flight_delay.definitions import Version, View
from deploy.demo.flight_delay.histories import Histories
from deploy.demo.flight_delay.table import model_inputs, source_columns

Tensors = dict[str, NDArray[np.float32]]
COUNTERS = 8
STEP = 1 / graph.GRID


@pytest.fixture(scope="module")
def session(version: Version) -> onnxruntime.InferenceSession:
    """The preprocessing graph, loaded."""
    model = graph.preprocessing(version.inputs).SerializeToString()
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def tensors(version: Version, departures: pd.DataFrame, views: dict[str, View], rows: Histories) -> Tensors:
    """Model inputs of every two hundredth departure of the slice."""
    sample = departures.iloc[::200]
    return model_inputs(version, source_columns(version.sources, sample, views, rows))


def features(session: onnxruntime.InferenceSession, tensors: Tensors) -> NDArray[np.float32]:
    """What the graph makes of the inputs."""
    output: NDArray[np.float32] = session.run(None, tensors)[0]
    return output


def test_rates_decay_by_the_age_at_the_prediction(
    session: onnxruntime.InferenceSession, tensors: Tensors, version: Version
) -> None:
    """Late rate of the first counter (carriers, 6 h) as defined: decayed sums over decayed weight, with the prior."""
    late, delay, weight = tensors["counters"][:, :3].astype(np.float64).T
    age = tensors["ages"][:, 0].astype(np.float64)
    kept = np.where(np.isnan(age), 0.0, 0.5 ** (age / (6 * 3600)))
    out = features(session, tensors)
    np.testing.assert_allclose(out[:, 0], (late * kept + 0.2) / (weight * kept + 1), atol=STEP)
    np.testing.assert_allclose(out[:, COUNTERS], (delay * kept + 12) / (weight * kept + 1), atol=STEP)
    np.testing.assert_allclose(out[:, 2 * COUNTERS], np.log1p(weight * kept), atol=STEP)


def test_a_key_never_seen_gets_the_prior(session: onnxruntime.InferenceSession, tensors: Tensors) -> None:
    """Default counters with an absent age are judged by the prior alone; so are counters from long ago."""
    never = {name: np.full_like(values[:1], np.nan) for name, values in tensors.items()}
    never |= {"counters": np.zeros_like(tensors["counters"][:1]), "schedule": tensors["schedule"][:1]}
    ancient = never | {"counters": tensors["counters"][-1:], "ages": np.full_like(tensors["ages"][:1], 3e7)}
    for case in (never, ancient):
        out = features(session, case)[0]
        np.testing.assert_allclose(out[:COUNTERS], 0.2, atol=1e-3)
        np.testing.assert_allclose(out[3 * COUNTERS : 3 * COUNTERS + 2], [1440, 0])


def test_minutes_since_the_aircraft_last_left(session: onnxruntime.InferenceSession, tensors: Tensors) -> None:
    """The age of the tail's row in minutes, and its delay cut to 180; after a day neither says anything."""
    case = {name: np.repeat(values[-1:], 2, axis=0) for name, values in tensors.items()}
    case["ages"][:, 5] = [5400, 86_400]
    case["aircraft"][:, 0] = 1301
    out = features(session, case)[:, 3 * COUNTERS : 3 * COUNTERS + 2]
    np.testing.assert_allclose(out, [[90, 180], [1440, 0]])


@pytest.mark.parametrize("missing", ["ages", "aircraft", "weather"])
def test_features_are_finite_whatever_is_missing(
    session: onnxruntime.InferenceSession, tensors: Tensors, missing: str
) -> None:
    """No estimator has to know about NaN."""
    out = features(session, tensors | {missing: np.full_like(tensors[missing], np.nan)})
    assert np.isfinite(out).all()


def test_rows_do_not_depend_on_their_batch(session: onnxruntime.InferenceSession, tensors: Tensors) -> None:
    """One row alone gives the bits that it gives among others."""
    alone = [features(session, {name: values[i : i + 1] for name, values in tensors.items()}) for i in range(20)]
    first = {name: values[:20] for name, values in tensors.items()}
    assert np.concatenate(alone).tobytes() == features(session, first).tobytes()


def test_time_of_day_is_cyclic(session: onnxruntime.InferenceSession, tensors: Tensors) -> None:
    """One minute to midnight lies next to midnight."""
    case = {name: np.repeat(values[:1], 2, axis=0) for name, values in tensors.items()}
    case["schedule"][:, :2] = [[23, 59], [0, 0]]
    late, early = features(session, case)[:, -5:-3]
    assert 2 * math.pi / 1440 == pytest.approx(float(np.linalg.norm(late - early)), rel=1e-2)
