"""A real slice of the year that the demo's unit tests share: three weeks of departures and what they could read."""

from __future__ import annotations

import pandas as pd
import pytest

from deploy.demo.flight_delay import data, histories
from deploy.demo.flight_delay.definitions import Version, View, read_versions, read_views

SLICE = 18_000


@pytest.fixture(scope="session")
def views() -> dict[str, View]:
    """The declared feature views."""
    return read_views()


@pytest.fixture(scope="session")
def version() -> Version:
    """The newest version."""
    return read_versions()[-1]


@pytest.fixture(scope="session")
def weather() -> pd.DataFrame:
    """All observations."""
    return data.weather()


@pytest.fixture(scope="session")
def departures() -> pd.DataFrame:
    """The first three weeks of January."""
    return data.departures().head(SLICE)


@pytest.fixture(scope="session")
def rows(views: dict[str, View], departures: pd.DataFrame, weather: pd.DataFrame) -> histories.Histories:
    """What those departures could read."""
    return histories.build(views, departures, data.planes(), weather)
