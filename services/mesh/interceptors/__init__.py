"""The interceptor chain: what surrounds every call of every service, in one order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from services.mesh.admission.gate import Gate
from services.mesh.interceptors.admission import Admission
from services.mesh.interceptors.context import Context
from services.mesh.interceptors.deadlines import Deadlines
from services.mesh.interceptors.errors import Errors
from services.mesh.interceptors.identity import Identification
from services.mesh.interceptors.telemetry import Telemetry
from services.mesh.methods import Interceptor
from services.mesh.security.guard import Guard
from services.mesh.telemetry.tracing import Tracing

__all__ = ["server_chain"]
NO_GATES: Mapping[str, Gate] = MappingProxyType({})


def server_chain(
    tracing: Tracing, *, max_in_flight: int, gates: Mapping[str, Gate] = NO_GATES, guard: Guard | None = None
) -> tuple[Interceptor, ...]:
    """Return the chain of one service, outermost first. `gates` are by the paths of the methods that have one.

    Without a `guard` everybody may do everything.
    """
    identification = () if guard is None else (Identification(guard, gates),)
    return (
        Context(),  # outermost: everything below logs the request id
        Telemetry(tracing),  # outside Errors and Admission, so that refusals are counted by code
        Errors(),  # outside the rest, so that their refusals carry a reason too
        *identification,  # outside Admission: only who may call takes up room
        Admission(max_in_flight, gates),  # refusing must stay cheap
        Deadlines(),  # innermost: the budget starts when the work does
    )
