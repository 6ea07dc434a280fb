"""What is known of the call being answered: who asked, under which trace, until when."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.mesh.deadline import Deadline
from services.mesh.security.caller import Caller

if TYPE_CHECKING:
    from services.mesh.telemetry.spans import Span, Tracer


@dataclass(slots=True)
class CallContext:
    """One call. `trace_id` and `span_id` are lower-case hex (32 and 16 digits); a `span_id` of "" has no parent span.

    `span` is the one of this process that the call runs in, which events of it belong to; None if it is not traced here.
    `caller` is who calls; None where the service does not ask.
    """

    request_id: str
    trace_id: str
    span_id: str
    sampled: bool
    deadline: Deadline | None = None
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    tracer: Tracer | None = None
    span: Span | None = None
    caller: Caller | None = None

    def within(self, span: Span) -> CallContext:
        """Return what is known of it while it runs in `span`."""
        return CallContext(
            self.request_id,
            self.trace_id,
            span.span_id,
            self.sampled,
            self.deadline,
            self.metadata,
            self.tracer,
            span,
            self.caller,
        )

    def traceparent(self) -> str:
        """Return the W3C header that makes the next hop a child of this one."""
        return f"00-{self.trace_id}-{self.span_id or new_span_id()}-{'01' if self.sampled else '00'}"


# Later versions may append fields; all zeros and version ff are invalid (W3C Trace Context).
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII
)

_current: ContextVar[CallContext | None] = ContextVar("predictmesh_call", default=None)


def current() -> CallContext | None:
    """Return the call being answered, or None outside of one."""
    return _current.get()


def caller_name() -> str:
    """Return who makes the call being answered; empty where the service does not ask."""
    running = _current.get()
    return "" if running is None or running.caller is None else running.caller.name


use = _current.set
reset = _current.reset


def new_trace_id() -> str:
    """Return a random trace id; 128 bits, hex."""
    return f"{random.getrandbits(128):032x}"


def new_span_id() -> str:
    """Return a random span id; 64 bits, hex, never all zeros, which W3C forbids."""
    return f"{random.getrandbits(64) | 1:016x}"


def parse_traceparent(header: str) -> tuple[str, str, bool] | None:
    """Return (trace id, parent span id, sampled) of a W3C header, or None if it is none."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    return trace_id, span_id, bool(int(flags, 16) & 1)
