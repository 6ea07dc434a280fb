"""What the receiver of the running `up` has."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from services.cli.errors import Failure
from services.cli.fetch import fetch_json
from services.cli.targets import read_up
from services.cli.traces.spans import Span
from services.cli.traces.waterfall import draw

_TIMEOUT_S = 5.0


class TraceClient:
    """Reads traces from the receiver of the `up` that runs on `data`. Failure if there is none."""

    def __init__(self, data: Path) -> None:
        traces = read_up(data).get("traces") or {}
        if "http" not in traces:
            raise Failure(
                f"no trace receiver runs on {data}: `predictmesh up` has one, unless OTEL_EXPORTER_OTLP_ENDPOINT is set"
            )
        self._address: str = traces["http"]

    def get(self, trace_id: str, parent_id: str = "", wait_s: float = 0) -> list[Span]:
        """Return the spans of a trace; waits up to `wait_s` for the child of `parent_id` and what belongs to it."""
        query = urlencode({"parent": parent_id, "wait_s": wait_s})
        answer = self._fetch(f"/traces/{trace_id}?{query}", wait_s)
        return [Span.from_plain(plain) for plain in answer["spans"]]

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return a summary of each of the newest traces, newest first."""
        traces: list[dict[str, Any]] = self._fetch(f"/traces?limit={limit}", 0)["traces"]
        return traces

    def _fetch(self, path: str, wait_s: float) -> Any:  # noqa: ANN401 - JSON
        try:
            return fetch_json(self._address, path, _TIMEOUT_S + wait_s)[1]
        except OSError as error:
            raise Failure(f"cannot reach the trace receiver at {self._address}: {error}") from error


def show(spans: list[Span], trace_id: str) -> None:
    """Print a trace as wide as the terminal is."""
    width = shutil.get_terminal_size((120, 24)).columns
    for line in draw(spans, trace_id, width):
        click.echo(line)
