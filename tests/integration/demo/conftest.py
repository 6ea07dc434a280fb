"""The demo in small: models of a few days in January, the recording of the next hours, and services that serve them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from deploy.demo.flight_delay import data, graph, histories, recording
from deploy.demo.flight_delay.definitions import RECORDING, read_versions, read_views
from deploy.demo.flight_delay.estimators import Sample, perceptron, wide_network
from deploy.demo.flight_delay.online import sample as samples
from deploy.demo.flight_delay.online.comparison import Comparison, compare
from deploy.demo.flight_delay.online.running import running
from deploy.demo.flight_delay.online.triton import chosen
from deploy.demo.flight_delay.pipeline import score
from deploy.demo.flight_delay.profiles import training_profile
from deploy.demo.flight_delay.table import model_inputs, source_columns
from deploy.demo.flight_delay.welding import weld
from services.cli.options import Services

TRAINED = 4_000
PLAYED = 2_000
COMPARED = 300


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pipeline makes, of the first departures of the year; each version has learned from rows of its own."""
    folder = tmp_path_factory.mktemp("trained")
    views, departures = read_views(), data.departures().head(TRAINED + PLAYED)
    rows = histories.build(views, departures, data.planes(), data.weather())
    late, scores = departures["late"].to_numpy(), {}
    for number, version in enumerate(read_versions()):
        columns = source_columns(version.sources, departures, views, rows)
        head, tensors = graph.preprocessing(version.inputs), model_inputs(version, columns)
        features = score(head, tensors)
        own = slice(number, TRAINED, 3)
        sample = Sample(features[own], late[own])
        estimator = wide_network if version.version == "2.0.0" else perceptron
        model = weld(head, estimator(sample, sample))
        onnx.save(model, folder / f"{version.version}.onnx")
        report = {"metrics": {"auc": 0.5}, "training_profile": training_profile(columns)}
        (folder / f"{version.version}.json").write_text(json.dumps(report))
        scores[version.version] = score(model, tensors)[TRAINED:, 0]
    window = departures.iloc[TRAINED:].reset_index(drop=True)
    recording.write(folder / RECORDING, window, scores, views, rows)
    return folder


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services as processes, without Triton, with nothing defined."""
    directory = tmp_path_factory.mktemp("up")
    with running(directory, "mesh", None, "off"):
        yield Services({}, directory)


@pytest.fixture(scope="session")
def comparison(services: Services, trained: Path) -> Comparison:
    """The services after the replay of the first departures."""
    return compare(services, trained, COMPARED, lambda _: None, chosen("off", {}))


@pytest.fixture(scope="session")
def sample(comparison: Comparison, services: Services) -> tuple[samples.Sample, list[dict[str, object]]]:
    """The last departure asked once more, and the spans of that, while the store still is as it was."""
    asked = samples.ask_traced(services, comparison.last)
    return asked, asked.trace.spans()
