"""The recording and its replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from deploy.demo.flight_delay import recording
from deploy.demo.flight_delay.data import HOUR
from deploy.demo.flight_delay.definitions import Version, View
from deploy.demo.flight_delay.histories import Histories
from deploy.demo.flight_delay.replay import Departure, Recording, Updates
from deploy.demo.flight_delay.table import model_inputs, source_columns

WINDOW = 2000


class DictStore:
    """The online store as a dictionary: the newest row of each key, last arrival on a tie."""

    def __init__(self, views: dict[str, View]) -> None:
        self._views = views
        self._rows: dict[tuple[str, tuple[Any, ...]], tuple[int, list[np.float32]]] = {}

    def write(self, updates: Updates) -> None:
        keys = list(zip(*(column.tolist() for column in updates.keys.values()), strict=True))
        rows = zip(*(updates.values[field] for field in self._views[updates.view].fields), strict=True)
        for key, time, row in zip(keys, updates.event_time.tolist(), rows, strict=True):
            stored = self._rows.get((updates.view, key))
            if stored is None or time >= stored[0]:
                self._rows[updates.view, key] = (time, list(row))

    def read(self, departure: Departure) -> dict[str, np.float32]:
        """Every source of a departure."""
        sources = {f"request:{name}": np.float32(value) for name, value in departure.features.items()}
        for view in self._views.values():
            key = tuple(departure.entities[name] for name in view.keys)
            time, row = self._rows.get((view.name, key), (None, list(view.defaults)))
            age = np.nan if time is None else (departure.as_of - time) / 1e6
            sources |= {f"{view.name}:{field}": value for field, value in zip(view.fields, row, strict=True)}
            sources[f"{view.name}.age"] = np.float32(age)
        return sources


@pytest.fixture(scope="module")
def window(departures: pd.DataFrame) -> pd.DataFrame:
    """About two thousand departures after two weeks of history.

    It starts and ends on whole hours, when weather becomes known: rows lie exactly on both edges.
    """
    tail = departures.tail(WINDOW)
    whole = tail.index[tail["as_of"] % HOUR == 0]
    return departures.loc[whole[0] : whole[-1]].reset_index(drop=True)


@pytest.fixture(scope="module")
def scores(window: pd.DataFrame) -> NDArray[np.float32]:
    """A score for each departure of the window."""
    return np.linspace(0, 1, len(window), dtype=np.float32)


@pytest.fixture(scope="module")
def recorded(
    window: pd.DataFrame,
    scores: NDArray[np.float32],
    views: dict[str, View],
    rows: Histories,
    tmp_path_factory: pytest.TempPathFactory,
) -> Recording:
    """The window written and read back."""
    path = tmp_path_factory.mktemp("recording") / "replay.npz"
    recording.write(path, window, {"1.0.0": scores}, views, rows)
    return Recording(path)


def test_replayed_reads_equal_the_offline_table_bit_for_bit(
    recorded: Recording, window: pd.DataFrame, views: dict[str, View], rows: Histories, version: Version
) -> None:
    """A store fed by the replay alone gives each departure what the offline table has for it."""
    store = DictStore(views)
    for batch in recorded.initial_state():
        store.write(batch)
    read: list[dict[str, np.float32]] = []
    for event in recorded.replay(WINDOW):
        if isinstance(event, Updates):
            store.write(event)
        else:
            read.append(store.read(event))
    online = {name: np.array([row[name] for row in read], np.float32) for name in version.sources}

    expected = model_inputs(version, source_columns(version.sources, window, views, rows))
    for name, tensor in model_inputs(version, online).items():
        assert expected[name].tobytes() == tensor.tobytes(), name


def test_departures_come_in_order_with_label_and_score(
    recorded: Recording, window: pd.DataFrame, scores: NDArray[np.float32]
) -> None:
    """Every departure of the window once, with what was scored offline."""
    replayed = [event for event in recorded.replay(WINDOW) if isinstance(event, Departure)]
    assert len(window) == len(recorded)
    assert window["tailnum"].tolist() == [event.entities["tailnum"] for event in replayed]
    assert window["departed"].tolist() == [event.departed for event in replayed]
    assert window["late"].tolist() == [event.late for event in replayed]
    assert scores.tolist() == [event.scores["1.0.0"] for event in replayed]
    assert window["hour"].tolist() == [event.entities["hour"] for event in replayed]


def test_an_update_comes_before_the_departure_that_may_see_it_and_after_those_that_may_not(
    recorded: Recording, window: pd.DataFrame
) -> None:
    """Between the last prediction before it became known and the first after, and never again after the initial state."""
    last = window["as_of"].iloc[0]
    pending: list[Updates] = []
    updated = 0
    for event in recorded.replay(WINDOW):
        if isinstance(event, Updates):
            pending.append(event)
            continue
        for updates in pending:
            assert ((last < updates.event_time) & (updates.event_time <= event.as_of)).all()
            updated += len(updates)
        pending, last = [], event.as_of
    assert updated > len(window)


def test_a_smaller_window_is_the_beginning_of_the_larger(recorded: Recording) -> None:
    """The window only says where to stop."""
    small = [event.as_of for event in recorded.replay(50) if isinstance(event, Departure)]
    large = [event.as_of for event in recorded.replay(WINDOW) if isinstance(event, Departure)]
    assert 50 == len(small)
    assert large[:50] == small


@pytest.mark.parametrize("start", [1, 777, WINDOW - 1])
def test_two_windows_that_meet_are_the_whole(recorded: Recording, start: int) -> None:
    """No departure and no row is left out between them, and none comes twice."""
    whole = _flat(recorded.replay(WINDOW))
    assert _flat(recorded.replay(start)) + _flat(recorded.replay(WINDOW, start)) == whole


def _flat(events: Iterator[Updates | Departure]) -> list[tuple[Any, ...]]:
    """Every departure and row, in their order."""
    return [
        item
        for event in events
        for item in (
            [(event.as_of, event.entities["tailnum"])]
            if isinstance(event, Departure)
            else [(event.view, time) for time in event.event_time.tolist()]
        )
    ]


def test_initial_state_has_each_key_once_and_nothing_from_the_future(recorded: Recording, window: pd.DataFrame) -> None:
    """It is the store as it stood when the first departure was predicted."""
    start = window["as_of"].iloc[0]
    for batch in recorded.initial_state():
        keys = list(zip(*(column.tolist() for column in batch.keys.values()), strict=True))
        assert len(set(keys)) == len(keys) > 0
        assert (batch.event_time <= start).all()


def test_weather_that_its_policy_would_withhold_is_left_out(recorded: Recording, window: pd.DataFrame) -> None:
    """Of two weeks of hours there remain the current one and the one that is just an hour old."""
    (weather,) = (batch for batch in recorded.initial_state() if batch.view == "origin_weather")
    hour = window["hour"].iloc[0]
    assert {hour - 1, hour} == set(weather.keys["hour"].tolist())


def test_a_missing_recording_is_an_error(tmp_path: Path) -> None:
    """Nothing is replayed from nothing."""
    with pytest.raises(OSError, match=r"replay\.npz"):
        Recording(tmp_path / "replay.npz")
