"""What the caller of a hop does about its failures. Only he retries, and only what may be asked twice.

A call goes to the replica that `Replicas` chooses; one whose breaker is open is not among them. When that is slow a
second one is asked beside it (`hedging`). UNAVAILABLE is asked again elsewhere (`retrying`). Both have a budget, that keeps
an outage from being amplified (`budget`). Of each replica a `ReplicaBreaker` counts the failures that are its own
(`window`, `breaker`); once it is open, a background task asks the replica's health service until it answers
(`recovery`), so that nobody's request is the probe.
"""

from services.mesh.resilience.effort import NO_EFFORT, Effort
from services.mesh.resilience.errors import CircuitOpen
from services.mesh.resilience.hop import Hop

__all__ = ["NO_EFFORT", "CircuitOpen", "Effort", "Hop"]
