"""What the YAML files declare, checked against each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from deploy.demo.flight_delay import definitions
from deploy.demo.flight_delay.definitions import Version, View
from deploy.demo.flight_delay.estimators import ESTIMATORS

VERSION_FILES = sorted((definitions.HERE / "versions").glob("*.yaml"))


@pytest.fixture
def sample() -> dict[str, Any]:
    """The endpoint's sample request."""
    documents = yaml.safe_load_all((definitions.HERE / "endpoints.yaml").read_text())
    (endpoint,) = (document for document in documents if document["kind"] == "Endpoint")
    found: dict[str, Any] = endpoint["sample"]
    return found


@pytest.mark.parametrize("path", VERSION_FILES, ids=lambda path: path.stem)
def test_every_source_of_a_version_exists(path: Path, views: dict[str, View], departures: pd.DataFrame) -> None:
    """A source is a field or the age of a declared view, or a column of the request."""
    known = {f"{view.name}:{field}" for view in views.values() for field in view.fields}
    known |= {f"{view}.age" for view in views} | set(departures.columns)
    (version,) = (entry for entry in definitions.read_versions() if entry.version == path.stem)
    assert set() == set(version.sources) - known


@pytest.mark.parametrize("path", VERSION_FILES, ids=lambda path: path.stem)
def test_every_shape_counts_its_sources(path: Path) -> None:
    """An input's row has one element per source."""
    inputs = yaml.safe_load(path.read_text())["inputs"]
    assert [[len(entry["sources"])] for entry in inputs] == [entry["shape"] for entry in inputs]


def test_every_version_has_an_estimator() -> None:
    """A version file without a way to train it would be a promise."""
    assert sorted(ESTIMATORS) == [version.version for version in definitions.read_versions()]


def test_the_sample_request_names_every_key_and_request_feature(
    sample: dict[str, Any], views: dict[str, View], version: Version
) -> None:
    """Whoever copies the sample gets an answer."""
    assert {key for view in views.values() for key in view.keys} == set(sample["entities"])
    wanted = {source.removeprefix("request:") for source in version.sources if source.startswith("request:")}
    assert wanted == set(sample["features"])


def test_half_lives_are_read_from_the_names_of_fields(views: dict[str, View]) -> None:
    """A view without counters has none."""
    assert ("1h", "6h") == views["origin_lateness"].half_lives
    assert () == views["plane"].half_lives


def test_only_a_view_that_withholds_stale_rows_has_a_limit(views: dict[str, View]) -> None:
    """Policy `serve` reads a row of any age."""
    assert math.inf == views["tail_lateness"].served_for_s
    assert 3600 == views["origin_weather"].served_for_s
