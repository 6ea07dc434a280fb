"""Which runtimes computed a batch, as the model service says it."""

from __future__ import annotations

from functools import lru_cache

from services.gateway.prediction import DegradationReason, RuntimeSource

_REASONS = {
    reason.name: reason
    for reason in (
        DegradationReason.RUNTIME_FAILED,
        DegradationReason.RUNTIME_SLOW,
        DegradationReason.RUNTIME_SATURATED,
        DegradationReason.RUNTIME_NOT_READY,
    )
}


# The texts are few: one a runtime, and some while one of them fails.
@lru_cache(maxsize=256)
def sources_of(text: str) -> tuple[RuntimeSource, ...]:
    """Return the sources in a text like `triton,onnx;RUNTIME_FAILED;triton`; ValueError if it says anything else."""
    return tuple(map(_source, text.split(",")))


def _source(text: str) -> RuntimeSource:
    match text.split(";"):
        case [runtime]:
            return RuntimeSource(runtime)
        case [runtime, reason, instead_of] if runtime and instead_of and reason in _REASONS:
            return RuntimeSource(runtime, _REASONS[reason], instead_of)
        case _:
            raise ValueError(f"{text!r} is not RUNTIME or RUNTIME;REASON;RUNTIME")
