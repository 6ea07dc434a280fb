"""Every row that each feature view ever held, and which of them a reader sees at a moment.

A history is a frame of the view's key columns, event_time (microseconds) and fields (float32), by event time, with at
most one row for a key and an event time: of two at the same time only the last was ever visible.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deploy.demo.flight_delay.counters import LatenessCounters
from deploy.demo.flight_delay.definitions import View, seconds

Histories = Mapping[str, pd.DataFrame]


def build(
    views: Mapping[str, View], departures: pd.DataFrame, planes: pd.DataFrame, weather: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Histories of all views, by name. A departure counts from the moment it left, not from its schedule."""
    events = departures.sort_values(["departed", "scheduled"], kind="stable", ignore_index=True)
    static = {"plane": planes, "origin_weather": weather}
    return {
        view.name: _visible(view, _lateness(view, events) if view.half_lives else static[view.name])
        for view in views.values()
    }


def served(history: pd.DataFrame, view: View, departures: pd.DataFrame) -> NDArray[np.int64]:
    """For each departure (by as_of) the position of the row a reader sees at as_of, -1 where the key has none yet."""
    rows = history[[*view.keys, "event_time"]].assign(position=np.arange(len(history)))
    joined = pd.merge_asof(
        departures[[*view.keys, "as_of"]], rows, left_on="as_of", right_on="event_time", by=list(view.keys)
    )
    return joined["position"].fillna(-1).to_numpy(np.int64)


def _visible(view: View, rows: pd.DataFrame) -> pd.DataFrame:
    ordered = rows.sort_values("event_time", kind="stable")
    last = ordered.drop_duplicates([*view.keys, "event_time"], keep="last")
    return last[[*view.keys, "event_time", *view.fields]].reset_index(drop=True)


def _lateness(view: View, events: pd.DataFrame) -> pd.DataFrame:
    """One row per departure: the state of its key just after it."""
    counters = LatenessCounters([seconds(text) for text in view.half_lives])
    keys = zip(*(events[key] for key in view.keys), strict=True)
    facts = (events[name].tolist() for name in ("departed", "late", "delay"))
    states = [counters.add(key, *fact) for key, *fact in zip(keys, *facts, strict=True)]
    names = [f"{kind}_{text}" for text in view.half_lives for kind in ("late", "delay", "weight")]
    frame = pd.DataFrame(np.array(states, np.float32), columns=names)
    return pd.concat([events[list(view.keys)], frame], axis=1).assign(
        event_time=events["departed"], last_delay=events["delay"].astype(np.float32)
    )
