"""Which calls are sampled, and the export of their spans over OTLP/gRPC off the path of the calls."""

from __future__ import annotations

import os
import random
import threading
import time

from opentelemetry.sdk.environment_variables import OTEL_BSP_SCHEDULE_DELAY, OTEL_SDK_DISABLED
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from services.mesh.context import CallContext
from services.mesh.telemetry.spans import Tracer

# An export costs a process two to three milliseconds of CPU, however few spans are in it. OTEL_BSP_SCHEDULE_DELAY says
# otherwise, as `up` does where a person waits for the trace.
EXPORT_DELAY_MS = 1000
CLOSE_LIMIT_S = 1.0
# Calls that are sampled, or not, together: a few batches under load, and only those of a moment.
SAMPLED_RUN, RUN_S = 64, 0.1


class Tracing:
    """The tracer of one service, and the head sampling of calls that bring no decision of their own."""

    def __init__(self, service: str, *, exporter: SpanExporter | None, sample_ratio: float) -> None:
        self._ratio = sample_ratio
        self._run_left = 0
        self._run_until = 0.0
        self._run_sampled = False
        self._exporter = exporter
        self._processor: BatchSpanProcessor | None = None
        self.tracer: Tracer | None = None
        if exporter is not None:
            self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=_export_delay_ms())
            self.tracer = Tracer(service, self._processor)

    def decide(self, call: CallContext) -> bool:
        """Sample the call if its caller did, or by chance if it is the first of its trace; return whether."""
        call.tracer = self.tracer
        if not call.span_id and self.tracer is not None:
            call.sampled = self._by_chance()
        return call.sampled and self.tracer is not None

    def _by_chance(self) -> bool:
        # Neighbours travel in one batch, whose hops are traced if any of them is: a sample of runs of neighbours holds as
        # many calls as a sample of single ones, and costs spans in a fraction of the batches.
        now = time.monotonic()
        if self._run_left == 0 or now > self._run_until:
            self._run_left, self._run_until = SAMPLED_RUN, now + RUN_S
            self._run_sampled = random.random() < self._ratio  # noqa: S311 - sampling, not a secret
        self._run_left -= 1
        return self._run_sampled

    def close(self) -> None:
        """Export what is left, for at most `CLOSE_LIMIT_S`: without a collector the exporter would try for longer."""
        if self._processor is None or self._exporter is None:
            return
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_LIMIT_S)
        if closing.is_alive():
            self._exporter.shutdown()


def open_tracing(service: str, *, endpoint: str, sample_ratio: float) -> Tracing:
    """Return the tracing of `service`; no spans are made without an OTLP `endpoint` (http://HOST:PORT).

    Nor with OTEL_SDK_DISABLED.
    """
    exporter: SpanExporter | None = None
    if endpoint and os.environ.get(OTEL_SDK_DISABLED, "").strip().lower() != "true":
        # Imported only where it is used: it costs a process several megabytes.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https"))
    return Tracing(service, exporter=exporter, sample_ratio=sample_ratio)


def _export_delay_ms() -> int:
    told = os.environ.get(OTEL_BSP_SCHEDULE_DELAY, "").strip()
    # OpenTelemetry: what is empty, or cannot be, is as if it were not there.
    return int(told) if told.isdecimal() and int(told) > 0 else EXPORT_DELAY_MS
