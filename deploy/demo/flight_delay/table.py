"""The offline feature table: for every departure the raw values that the online store would have returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deploy.demo.flight_delay.definitions import Version, View
from deploy.demo.flight_delay.histories import Histories, served

Column = NDArray[np.float32]


def source_columns(
    sources: Iterable[str], departures: pd.DataFrame, views: Mapping[str, View], histories: Histories
) -> dict[str, Column]:
    """One value per departure (by as_of) for each source: stored values as they are, ages in seconds at as_of."""
    wanted = dict.fromkeys(sources)
    columns = {name: departures[name].to_numpy(np.float32) for name in wanted if name.startswith("request:")}
    for view in views.values():
        columns |= _view_columns(view, departures, histories[view.name])
    return {name: columns[name] for name in wanted}


def model_inputs(version: Version, columns: Mapping[str, Column]) -> dict[str, NDArray[np.float32]]:
    """The version's inputs, each [departures, sources] in the order of its sources."""
    return {entry.name: np.stack([columns[name] for name in entry.sources], axis=1) for entry in version.inputs}


def _view_columns(view: View, departures: pd.DataFrame, history: pd.DataFrame) -> dict[str, Column]:
    positions = served(history, view, departures)
    found = positions >= 0
    values = np.where(found[:, None], history[list(view.fields)].to_numpy()[positions], view.defaults)
    elapsed_us = departures["as_of"].to_numpy() - history["event_time"].to_numpy()[positions]
    # Divided in float64: a float32 cannot hold a month of microseconds.
    age = np.where(found, elapsed_us / 1e6, np.nan).astype(np.float32)
    return {f"{view.name}:{field}": values[:, i] for i, field in enumerate(view.fields)} | {f"{view.name}.age": age}
