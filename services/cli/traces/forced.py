"""A request that is traced whatever the sampling, and shown when it is done."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.output import note
from services.cli.traces.client import TraceClient, show
from services.cli.traces.spans import Span
from services.mesh.context import new_span_id, new_trace_id

_WAIT_S = 3.0


class ForcedTrace:
    """Context for one request. Failure at once if the `up` on `data` has no receiver."""

    def __init__(self, data: Path) -> None:
        self._client = TraceClient(data)
        self.trace_id, self._span_id = new_trace_id(), new_span_id()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that makes the request part of this trace, sampled."""
        return (("traceparent", f"00-{self.trace_id}-{self._span_id}-01"),)

    def spans(self) -> list[dict[str, object]]:
        """Return the spans of the request as JSON can hold them, when all have arrived or the limit is over."""
        return [span.plain() for span in self._get()]

    def show(self) -> None:
        """Print the waterfall of the request, when all its spans have arrived or the limit is over."""
        spans = self._get()
        if spans:
            click.echo()
            show(spans, self.trace_id)
        else:
            note(f"no spans of trace {self.trace_id} have arrived")

    def _get(self) -> list[Span]:
        return self._client.get(self.trace_id, self._span_id, _WAIT_S)
