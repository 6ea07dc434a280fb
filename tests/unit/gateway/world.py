"""A gateway without a wire on either side."""

from __future__ import annotations

from collections.abc import Mapping

from services.gateway.convert_snapshot import TableBuilder
from services.gateway.ladder.last_answers import LastAnswers
from services.gateway.observing import Observer
from services.gateway.predict import PredictFlow
from tests.support.predictions import MemoryFeatures, MemoryModel, StoredRow


class World:
    """A flow with what lies behind it."""

    def __init__(self, rows: Mapping[object, StoredRow], *observers: Observer) -> None:
        self.features = MemoryFeatures(rows)
        self.model = MemoryModel()
        self.reachable = True
        self.tables = TableBuilder()
        self.flow = PredictFlow(
            self.features,
            self.model,
            last_answers=LastAnswers(1_000_000),
            registry_reachable=lambda: self.reachable,
            max_batch_rows=8,
            max_queued_rows=100,
            observers=observers,
        )
