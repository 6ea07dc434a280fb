"""What this service counts."""

from __future__ import annotations

from prometheus_client import Counter

from services.features.compilation import CompiledPlan
from services.features.packing import FeatureValues
from services.features.views import FeatureState

CORRUPT_ROWS = Counter("predictmesh_feature_corrupt_rows", "Stored rows that cannot be decoded.", ("view", "cause"))
READ_VALUES = Counter("predictmesh_feature_values_read", "Rows of views that were read.")
NOT_FRESH = Counter("predictmesh_feature_values_not_fresh", "Rows of views read that are not fresh.", ("view", "state"))
WRITTEN_ROWS = Counter("predictmesh_feature_rows_written", "Rows that the store has taken.", ("view",))
SUPERSEDED_ROWS = Counter("predictmesh_feature_rows_superseded", "Rows older than what the store holds.", ("view",))
REJECTED_ROWS = Counter("predictmesh_feature_rows_rejected", "Rows that could not be written.", ("view",))


def count_read(plan: CompiledPlan, count: int, values: FeatureValues) -> None:
    """Count a batch that was read: `count` rows of views."""
    READ_VALUES.inc(count)
    for _, view, state in values.statuses:
        NOT_FRESH.labels(plan.views[view].view.name, FeatureState(state).name.lower()).inc()
