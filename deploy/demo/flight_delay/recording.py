"""What the replay needs, as flat arrays in one .npz: the test departures, the state they start from, what follows.

Names: `departures/<column>`, `state/<view>/<column>` and `updates/<view>/<column>`, where a column of a view is
`key:<name>`, `field:<name>` or `event_time`, and one of the departures is `entity:<name>`, `request:<name>`,
`score:<version>`, `as_of`, `departed` or `late`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deploy.demo.flight_delay.definitions import View
from deploy.demo.flight_delay.histories import Histories

Columns = dict[str, NDArray[np.generic]]


def write(
    path: Path,
    departures: pd.DataFrame,
    scores: Mapping[str, NDArray[np.float32]],
    views: Mapping[str, View],
    histories: Histories,
) -> None:
    """Write consecutive departures (by as_of) with their offline scores, and every row that they may read."""
    start, end = int(departures["as_of"].iloc[0]), int(departures["as_of"].iloc[-1])
    keys = dict.fromkeys(key for view in views.values() for key in view.keys)
    arrays = _prefixed("departures", _departure_columns(departures, keys, scores))
    for view in views.values():
        history = histories[view.name]
        event_time = history["event_time"]
        arrays |= _prefixed(f"state/{view.name}", _view_columns(view, _state(view, history, start)))
        arrays |= _prefixed(
            f"updates/{view.name}", _view_columns(view, history[event_time.between(start, end, "right")])
        )
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes the names for keyword options


def _state(view: View, history: pd.DataFrame, start: int) -> pd.DataFrame:
    """The row of each key at the start, without those that the view's policy would let nobody read."""
    known = history[history["event_time"] <= start].drop_duplicates(list(view.keys), keep="last")
    return known[(start - known["event_time"]) / 1e6 <= view.served_for_s]


def _departure_columns(
    departures: pd.DataFrame, keys: Iterable[str], scores: Mapping[str, NDArray[np.float32]]
) -> Columns:
    requests = [name for name in departures.columns if name.startswith("request:")]
    return {
        "as_of": departures["as_of"].to_numpy(),
        "departed": departures["departed"].to_numpy(),
        "late": departures["late"].to_numpy(),
        **{f"entity:{key}": _plain(departures[key]) for key in keys},
        **{name: departures[name].to_numpy() for name in requests},
        **{f"score:{version}": score for version, score in scores.items()},
    }


def _view_columns(view: View, rows: pd.DataFrame) -> Columns:
    return {
        "event_time": rows["event_time"].to_numpy(),
        **{f"key:{key}": _plain(rows[key]) for key in view.keys},
        **{f"field:{field}": rows[field].to_numpy() for field in view.fields},
    }


def _plain(column: pd.Series) -> NDArray[np.generic]:
    """Text of a fixed width instead of Python objects, which a reader would have to unpickle."""
    return column.to_numpy() if column.dtype.kind == "i" else column.to_numpy(dtype=str)


def _prefixed(prefix: str, columns: Columns) -> Columns:
    return {f"{prefix}/{name}": column for name, column in columns.items()}
