"""The offline pipeline: the year to features, features to models, models to files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

# Its makers are told of its use over the network, unless it finds this when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

from deploy.demo.flight_delay import data, histories, recording
from deploy.demo.flight_delay.definitions import RECORDING, Version, View, read_versions, read_views
from deploy.demo.flight_delay.estimators import ESTIMATORS, TEACHERS, Sample
from deploy.demo.flight_delay.graph import preprocessing
from deploy.demo.flight_delay.profiles import training_profile
from deploy.demo.flight_delay.table import model_inputs, source_columns
from deploy.demo.flight_delay.welding import weld

TRAIN_UNTIL, VALIDATE_UNTIL = np.datetime64("2013-09-01", "us"), np.datetime64("2013-10-01", "us")
_SCORED_ROWS = 4096

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Year:
    """All departures, the rows they could read, and the raw value of every source for each."""

    views: Mapping[str, View]
    departures: pd.DataFrame
    histories: histories.Histories
    columns: Mapping[str, NDArray[np.float32]]

    @property
    def late(self) -> NDArray[np.bool_]:
        """The label: 15 minutes late or more."""
        return self.departures["late"].to_numpy(np.bool_)


@dataclass(frozen=True)
class Split:
    """Rows of each part of the year, by scheduled time: January to August, September, October to December."""

    train: slice
    validation: slice
    test: slice


@dataclass(frozen=True)
class Trained:
    """A version and its model."""

    version: Version
    model: onnx.ModelProto

    def score(self, year: Year, rows: slice) -> NDArray[np.float32]:
        """Its probability for each of these departures."""
        return score(self.model, _rows(model_inputs(self.version, year.columns), rows))[:, 0]


def run(outputs: Path, announce: Callable[[str], None]) -> None:
    """Train every version and write the models, their metrics and profiles, and the recording of the test window.

    `announce` is called with each step before it begins.
    """
    announce("making features of the year's departures")
    versions = read_versions()
    year = read_year(versions)
    split = split_of(year.departures)
    trained: dict[str, Trained] = {}
    scores: dict[str, NDArray[np.float32]] = {}
    for version in versions:
        announce(f"training {version.version}")
        trained[version.version] = _train(version, year, split, trained)
        scores[version.version] = _write(trained[version.version], year, split, outputs)
    announce("recording the test window")
    recording.write(outputs / RECORDING, year.departures[split.test], scores, year.views, year.histories)


def read_year(versions: tuple[Version, ...]) -> Year:
    """Replay the year: the offline table of all sources that the versions read."""
    views, departures = read_views(), data.departures()
    rows = histories.build(views, departures, data.planes(), data.weather())
    sources = [source for version in versions for source in version.sources]
    return Year(views, departures, rows, source_columns(sources, departures, views, rows))


def split_of(departures: pd.DataFrame) -> Split:
    """Where the parts of the year begin and end."""
    scheduled = departures["scheduled"].to_numpy().astype("datetime64[us]")
    validation, test = np.searchsorted(scheduled, [TRAIN_UNTIL, VALIDATE_UNTIL])
    return Split(slice(0, validation), slice(validation, test), slice(test, len(departures)))


def score(model: onnx.ModelProto, tensors: Tensors) -> NDArray[np.float32]:
    """The one output of a model, on one thread, so that sums are taken in one order.

    Of some thousand rows at a time, as what lies between the layers of a wide model is larger than all inputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows = max(len(tensor) for tensor in tensors.values())
    blocks = (slice(start, start + _SCORED_ROWS) for start in range(0, rows, _SCORED_ROWS))
    return np.concatenate([session.run(None, _rows(tensors, block))[0] for block in blocks])


def _train(version: Version, year: Year, split: Split, earlier: Mapping[str, Trained]) -> Trained:
    """Train one version; what it can learn of another is among the earlier ones."""
    head, tensors = preprocessing(version.inputs), model_inputs(version, year.columns)
    features = score(head, tensors)
    train, validation = (Sample(features[rows], year.late[rows]) for rows in (split.train, split.validation))
    if version.version in TEACHERS:
        train = replace(train, taught=earlier[TEACHERS[version.version]].score(year, split.train))
    return Trained(version, weld(head, ESTIMATORS[version.version](train, validation)))


def _write(trained: Trained, year: Year, split: Split, outputs: Path) -> NDArray[np.float32]:
    """Write one version and its report; its probabilities for the test departures, from the model that is written."""
    name, probability = trained.version.version, trained.score(year, split.test)
    report = {
        "version": name,
        "metrics": _metrics(year.late, probability, split),
        "training_profile": training_profile(_rows(dict(year.columns), split.train)),
    }
    onnx.save(trained.model, outputs / f"{name}.onnx")
    (outputs / f"{name}.json").write_text(json.dumps(report, indent=1))
    return probability


def _rows(columns: Tensors, rows: slice) -> Tensors:
    return {name: column[rows] for name, column in columns.items()}


def _metrics(late: NDArray[np.bool_], probability: NDArray[np.float32], split: Split) -> dict[str, Any]:
    """Quality on the test months and the rows behind it."""
    test = late[split.test]
    return {
        "auc": float(roc_auc_score(test, probability)),
        "average_precision": float(average_precision_score(test, probability)),
        "log_loss": float(log_loss(test, probability.astype(np.float64))),
        "late_rate": float(test.mean()),
        "rows_train": int(late[split.train].size),
        "rows_validation": int(late[split.validation].size),
        "rows_test": int(test.size),
    }
