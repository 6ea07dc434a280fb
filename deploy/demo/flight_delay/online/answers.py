"""What one version has answered in a replay."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Sequence

from deploy.demo.flight_delay.online.computed import Computed, computed
from deploy.demo.flight_delay.replay import Departure
from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from services.cli.labels import words
from services.mesh.errors import MeshError
from services.mesh.status import from_status


class Answers:
    """Collects the answers of `version`, row by row.

    `online`, `offline`, `late`, `computed` (what computed it) and `moments` (seconds of the performance counter) have an
    element for each departure that was answered, `latencies` (seconds) and `batches` (rows that travelled together) one
    for each call; `failures` counts departures by message, `degraded` those answered by (view or runtime, reason).
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.online, self.offline, self.late = array("f"), array("f"), array("b")
        self.latencies, self.moments = array("d"), array("d")
        self.batches = array("L")
        self.computed: list[Computed] = []
        self.failures: Counter[str] = Counter()
        self.degraded: Counter[tuple[str, str]] = Counter()
        self.degraded_rows = 0

    def add(self, departures: Sequence[Departure], response: PredictResponse, latency_s: float) -> None:
        """Take the answer of one call, about a departure in each row."""
        self.latencies.append(latency_s)
        self.batches.append(response.provenance.batch_rows)
        answered_by = response.provenance.version
        if answered_by != self.version:
            self.failures[f"answered by version {answered_by} instead of {self.version}"] += len(departures)
            return
        failed = {error.row: error for error in response.row_errors}
        sources, now = computed(response.provenance, len(departures)), time.perf_counter()
        for error in failed.values():
            self.fail([departures[error.row]], from_status(error.status))
        for row, (departure, score) in enumerate(zip(departures, response.outputs[0].floats, strict=True)):
            if row not in failed:
                self.online.append(score)
                self.offline.append(departure.scores[self.version])
                self.late.append(departure.late)
                self.computed.append(sources[row])
                self.moments.append(now)
        self._note_degradations(response, set(range(len(departures))) - set(failed))

    def fail(self, departures: Sequence[Departure], error: MeshError) -> None:
        """Take a failure that concerns these departures."""
        self.failures[f"{error.message} [{error.reason}]"] += len(departures)

    def _note_degradations(self, response: PredictResponse, rows: set[int]) -> None:
        concerned: set[int] = set()
        for item in response.provenance.degradations:
            # No rows means all of them.
            here = rows & set(item.rows) if item.rows else rows
            self.degraded[item.subject, words(DegradationReason.Name, "DEGRADATION_REASON_", item.reason)] += len(here)
            concerned |= here
        self.degraded_rows += len(concerned)
