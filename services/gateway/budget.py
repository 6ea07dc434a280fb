"""How the time of a batch is shared between its hops: one that hangs leaves what comes later the time that it needs."""

from __future__ import annotations

from services.mesh.coalescing import START_S, Quantile
from services.mesh.deadline import Deadline, giving_up_in_s

# What the model keeps of the time at most, and what it keeps of it at least where features nearly always need the rest.
MODEL_SHARE, LEAST_MODEL_SHARE = 0.5, 0.25
# What features are left, whatever the model needs, of what they nearly always take.
ENOUGH = 1.5


class Budget:
    """Learns how long each hop nearly always takes. Durations are seconds; only those of hops that answer count."""

    __slots__ = ("_features", "_model")

    def __init__(self) -> None:
        self._features = Quantile(0.99, start=START_S)
        self._model = Quantile(0.99, start=START_S)

    def for_features(self, deadline: Deadline, beyond_s: float = 0.0) -> Deadline:
        """Return until when features may be waited for; `beyond_s` is needed beyond what the model was learnt to need."""
        left_s = deadline.remaining()
        wait_s = giving_up_in_s(left_s)
        spare_s = max(wait_s - ENOUGH * self._features.value, LEAST_MODEL_SHARE * wait_s)
        later_s = min(self._model.value + beyond_s, MODEL_SHARE * wait_s, spare_s)
        return Deadline(deadline.at - left_s + wait_s - later_s)

    def took(self, features_s: float, model_s: float) -> None:
        """Learn from a batch."""
        if features_s > 0:
            self._features.observe(features_s)
        if model_s > 0:
            self._model.observe(model_s)
