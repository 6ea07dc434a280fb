"""`predictmesh features`: the views, and the values stored for them."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from predictmesh.registry.v1.registry_service_pb2 import DeleteRequest
from services.cli import durations
from services.cli.client import connect
from services.cli.deletion import Deletion, deletes
from services.cli.errors import Mistake
from services.cli.lookup import StoredValue, ask, read
from services.cli.options import Assignment, Moment, Services, connects, json_option, timeout_option
from services.cli.output import note, plain, print_json, print_table, print_yaml
from services.cli.progress import Progress
from services.cli.requests import Pairs, key_columns
from services.cli.resources.views import show_view
from services.cli.values import values_of
from services.cli.views import fetch_view, fetch_views


@click.group()
def command() -> None:
    """List feature views, read and write their values."""


@command.command("views")
@click.argument("name", required=False)
@timeout_option()
@json_option
@connects("registry")
def views(name: str | None, timeout_s: float, as_json: bool, services: Services) -> None:
    """List the feature views, or show the one called NAME as YAML."""
    if name:
        view = fetch_view(services, name, timeout_s)
        if as_json:
            print_json(plain(view))
        else:
            print_yaml(show_view(view))
        return
    found = fetch_views(services, timeout_s)
    if as_json:
        print_json([plain(view) for view in found])
        return
    print_table(
        ["view", "entity", "keys", "fields", "max age", "policy"],
        [_view_row(view) for view in found],
        empty="no feature views; `predictmesh apply` creates them",
    )


@command.command("delete-view")
@click.argument("name")
@deletes
def delete_view(name: str, deletion: Deletion) -> None:
    """Delete the feature view NAME, which no version reads.

    Its rows stay in the store for as long as its `ttl` says, and are never read again.
    """
    deletion.make(DeleteRequest(feature_view=name), f"feature view {name}")


def _view_row(view: FeatureView) -> tuple[object, ...]:
    keys = ", ".join(key.name for key in view.entity.keys)
    shown = show_view(view)
    return view.name, view.entity.name, keys, len(view.fields), shown.get("max_age"), shown.get("policy", "serve")


@command.command("get")
@click.argument("view_name", metavar="VIEW")
@click.option(
    "--entity",
    "entities",
    type=Assignment(),
    multiple=True,
    required=True,
    help="Key column, e.g. carrier=UA. Repeat a name for more rows.",
)
@click.option("--as-of", type=Moment(), help="Moment that ages count from, RFC 3339. Default: now.")
@timeout_option()
@json_option
@connects("features", "registry")
def get(
    view_name: str, entities: Pairs, as_of: Timestamp | None, timeout_s: float, as_json: bool, services: Services
) -> None:
    """Show what is stored in VIEW for a key: every field, its origin and its age."""
    view = fetch_view(services, view_name, timeout_s)
    _check_names(view, entities)
    keys = key_columns(view.entity.keys, entities)
    as_of_us = as_of.ToMicroseconds() if as_of else time.time_ns() // 1_000
    with connect(services.grpc("features"), FeatureServiceStub) as features:
        response = features.GetFeatures(ask(view, keys, as_of_us), timeout=timeout_s)
    found = list(read(view, len(values_of(keys[0])), response))
    if as_json:
        print_json([asdict(value) for value in found])
    else:
        print_table(["row", "field", "value", "origin", "age", "state"], [_value_row(value) for value in found])


def _check_names(view: FeatureView, entities: Pairs) -> None:
    """Raise for a key column of another view: the service would leave it aside."""
    known = [key.name for key in view.entity.keys]
    for name, _ in entities:
        if name not in known:
            raise Mistake(
                f"view {view.name} has no key column {name!r}; it has {', '.join(known)} [UNKNOWN_ENTITY] (--entity)"
            )


def _value_row(value: StoredValue) -> tuple[object, ...]:
    age = "" if value.age_us is None else durations.rounded(value.age_us)
    return value.row, value.field, value.value, value.origin, age, value.state


@command.command("write")
@click.argument("view_name", metavar="VIEW")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="CSV or Parquet (by its ending) with a column for each key column and field.",
)
@click.option(
    "--event-time-column",
    metavar="COLUMN",
    help="Column of event times: RFC 3339, or microseconds since the epoch.  [default: event_time]",
)
@click.option("--event-time", metavar="TIME", help="One event time for all rows instead: now, or RFC 3339.")
@timeout_option("30s", " Also how long to wait for a service that is away.")
@json_option
@connects("features", "registry")
def write(
    view_name: str,
    file: Path,
    event_time_column: str | None,
    event_time: str | None,
    timeout_s: float,
    as_json: bool,
    services: Services,
) -> None:
    """Write the rows of a file to VIEW.

    Columns and values of the whole file are checked before anything is sent. A row that the service refuses then, such
    as one with too long a key, is told by its number, and the others are written. For one key the row with the latest
    event time stays, in any order.
    """
    # They need pyarrow, which takes as long to import as all the rest.
    from services.cli.feature_file import FeatureFile
    from services.cli.feature_stream import FeatureStream

    view = fetch_view(services, view_name, timeout_s)
    source = FeatureFile(file, view, _event_time(event_time_column, event_time))
    total = sum(len(rows) for rows in source.rows())
    with Progress(f"writing {view.name}", total, "rows") as progress:
        stream = FeatureStream(services.grpc("features"), view, timeout_s, progress.advance)
        result = stream.write(source.rows())
    if as_json:
        print_json(asdict(result))
    else:
        click.echo(f"{result.written} rows written, {result.superseded} left alone as the store holds a later event")
    if result.rejected:
        for reason in result.reasons:
            note(reason)
        raise Mistake(f"{result.rejected} of {total} rows rejected; the others are written")


def _event_time(column: str | None, moment: str | None) -> str | int:
    """Return the column of event times, or microseconds for all rows."""
    if column is not None and moment is not None:
        raise click.UsageError("--event-time-column and --event-time exclude each other")
    if moment is None:
        return column or "event_time"
    if moment == "now":
        return time.time_ns() // 1_000
    return Moment().convert(moment, None, None).ToMicroseconds()
