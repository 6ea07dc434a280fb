"""Reading the data set."""

from __future__ import annotations

import numpy as np
import pandas as pd

from deploy.demo.flight_delay import data


def test_departures_come_by_schedule_one_hour_after_their_prediction(departures: pd.DataFrame) -> None:
    """The first flight of 2013 was scheduled at 5:15 and left two minutes later."""
    first = departures.iloc[0]
    clock = [str(np.datetime64(int(first[name]), "us"))[:16] for name in ("as_of", "scheduled", "departed")]
    assert ["2013-01-01T04:15", "2013-01-01T05:15", "2013-01-01T05:17"] == clock
    assert departures["scheduled"].is_monotonic_increasing


def test_late_means_fifteen_minutes_or_more(departures: pd.DataFrame) -> None:
    """Fourteen minutes is on time."""
    assert departures.loc[departures["delay"] == 15, "late"].all()
    assert not departures.loc[departures["delay"] == 14, "late"].any()


def test_request_features_are_those_of_the_schedule(departures: pd.DataFrame) -> None:
    """Hour and minute are the scheduled ones; Tuesday, the first of January 2013, is day 1."""
    first = departures.iloc[0]
    assert (5, 15, 1, 1400) == tuple(first[f"request:{name}"] for name in ("hour", "minute", "weekday", "distance"))


def test_an_hours_weather_is_the_observation_of_the_hour_before(weather: pd.DataFrame) -> None:
    """What was observed during 1:00 to 1:59 on the first of January is known at 2:00 and belongs to that hour."""
    first = weather[weather["origin"] == "EWR"].iloc[0]
    assert "2013-01-01T02:00" == str(np.datetime64(int(first["event_time"]), "us"))[:16]
    assert first["event_time"] == first["hour"] * data.HOUR
    assert not weather.duplicated(["origin", "hour"]).any()


def test_reading_needs_no_import_of_the_data_set(departures: pd.DataFrame) -> None:
    """All the planes' facts are numbers, and every tail number occurs once."""
    planes = data.planes()
    assert planes["tailnum"].is_unique
    assert {np.dtype(np.float32)} == set(planes[["year_built", "engines", "seats"]].dtypes)
