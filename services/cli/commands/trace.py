"""`predictmesh trace`: the waterfall of a request."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from services.cli import durations
from services.cli.errors import Mistake
from services.cli.options import data_option, json_option
from services.cli.output import print_json, print_table
from services.cli.traces.client import TraceClient, show


@click.command()
@click.argument("trace_id", required=False)
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Traces to list.")
@json_option
@data_option
def command(trace_id: str | None, limit: int, as_json: bool, data: Path) -> None:
    """Show where the time of a request went.

    Without TRACE_ID, list the newest traces. The receiver of the running `predictmesh up` keeps the newest 1,000. `⇢` marks a batch of another trace that the
    request travelled in.
    """
    client = TraceClient(data)
    if trace_id is None:
        _list(client, limit, as_json)
        return
    trace_id = trace_id.lower()
    spans = client.get(trace_id)
    if not spans:
        raise Mistake(f"no trace {trace_id!r} (it was not sampled, or is too old; `predict --trace` always is)")
    if as_json:
        print_json([span.plain() for span in spans])
    else:
        show(spans, trace_id)


def _list(client: TraceClient, limit: int, as_json: bool) -> None:
    traces = client.newest(limit)
    if as_json:
        print_json(traces)
        return
    print_table(
        ["trace", "started", "request", "time", "spans", "errors"],
        [
            (
                trace["trace_id"],
                datetime.fromtimestamp(trace["start_ns"] / 1e9, UTC).strftime("%H:%M:%S.%f")[:-3],
                trace["name"],
                durations.rounded(trace["duration_us"]),
                trace["spans"],
                trace["errors"],
            )
            for trace in traces
        ],
        empty="no traces yet",
    )
