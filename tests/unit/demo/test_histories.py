"""What a reader sees of a view at a moment, and above all what it does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deploy.demo.flight_delay import histories
from deploy.demo.flight_delay.data import HORIZON, MINUTE
from deploy.demo.flight_delay.definitions import View

NOON = 1_357_041_600_000_000
VIEW = View("origin_lateness", ("origin",), ("late_1h", "delay_1h", "weight_1h"), np.zeros(3, np.float32))


def flights(*times: tuple[int, int]) -> pd.DataFrame:
    """Departures from EWR: minutes after noon of the schedule, and minutes of delay."""
    scheduled = np.array([NOON + minutes * MINUTE for minutes, _ in times])
    delay = np.array([delay for _, delay in times])
    return pd.DataFrame(
        {
            "origin": "EWR",
            "scheduled": scheduled,
            "as_of": scheduled - HORIZON,
            "departed": scheduled + delay * MINUTE,
            "delay": delay,
            "late": delay >= 15,
        }
    )


def seen(departures: pd.DataFrame) -> list[int]:
    """Event time of what each departure sees, in minutes after noon; -1 where nothing."""
    history = histories.build({VIEW.name: VIEW}, departures, pd.DataFrame(), pd.DataFrame())[VIEW.name]
    times = ((history["event_time"] - NOON) // MINUTE).tolist()
    return [times[i] if i >= 0 else -1 for i in histories.served(history, VIEW, departures)]


@pytest.mark.parametrize(("delay", "expected"), [(60, 60), (61, -1), (0, 0)])
def test_a_departure_counts_from_the_minute_it_left(delay: int, expected: int) -> None:
    """A prediction at 13:00 knows of a departure at 13:00, and not of one scheduled long before that left at 13:01."""
    assert [-1, expected] == seen(flights((0, delay), (120, 0)))


def test_no_departure_sees_itself_or_its_neighbours() -> None:
    """Within the horizon nothing is known."""
    assert [-1, -1, -1] == seen(flights((0, -5), (10, -5), (50, -5)))


def test_of_two_departures_in_one_minute_the_state_has_both() -> None:
    """The store keeps the last of two rows of equal time, and so does the history."""
    history = histories.build({VIEW.name: VIEW}, flights((0, 30), (30, 0)), pd.DataFrame(), pd.DataFrame())[VIEW.name]
    assert [(1.0, 30.0, 2.0)] == [tuple(row) for row in history[list(VIEW.fields)].to_numpy()]


def test_nothing_served_in_the_year_is_newer_than_its_prediction(
    views: dict[str, View], departures: pd.DataFrame, rows: histories.Histories
) -> None:
    """On real departures, for every view."""
    for view in views.values():
        history, positions = rows[view.name], histories.served(rows[view.name], view, departures)
        found = positions >= 0
        assert found.any()
        assert (history["event_time"].to_numpy()[positions] <= departures["as_of"].to_numpy())[found].all()


def test_weather_is_never_older_than_its_limit(
    views: dict[str, View], departures: pd.DataFrame, rows: histories.Histories
) -> None:
    """Rows belong to an hour, so that the view's policy never has to act, offline or online."""
    view = views["origin_weather"]
    positions = histories.served(rows[view.name], view, departures)
    ages = departures["as_of"].to_numpy() - rows[view.name]["event_time"].to_numpy()[positions]
    assert view.served_for_s > ages[positions >= 0].max() / 1e6
