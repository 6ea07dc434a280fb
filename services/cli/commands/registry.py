"""`predictmesh registry`: backup and restore of the event log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from google.protobuf.json_format import ParseDict, ParseError

from predictmesh.registry.v1.registry_service_pb2 import Event, ImportEventsRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect
from services.cli.errors import Mistake
from services.cli.events.log import events_after
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json


@click.group()
def command() -> None:
    """Back up the registry, or restore it."""


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@timeout_option()
@json_option
@connects("registry")
def export(file: Path, timeout_s: float, as_json: bool, services: Services) -> None:
    """Write every event of the registry's log to FILE, one JSON object a line.

    Artifacts are not in it: they lie in object storage.
    """
    partial = file.with_name(f"{file.name}.partial")
    count, revision = 0, 0
    try:
        with (
            connect(services.grpc("registry"), RegistryServiceStub) as registry,
            partial.open("w", encoding="utf-8") as lines,
        ):
            for event in events_after(registry, 0, timeout_s):
                lines.write(json.dumps(plain(event), ensure_ascii=False) + "\n")
                count, revision = count + 1, event.revision
        # Only a whole backup takes the place of an older one.
        partial.replace(file)
    except OSError as error:
        raise Mistake(f"cannot write {file}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"file": str(file), "events": count, "revision": revision})
    else:
        click.echo(f"{count} events up to revision {revision} in {file}")


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@timeout_option("60s")
@json_option
@connects("registry")
def import_events(file: Path, timeout_s: float, as_json: bool, services: Services) -> None:
    """Write the events of FILE into an empty registry, all or none."""
    events = _read(file)
    with connect(services.grpc("registry"), RegistryServiceStub) as registry:
        response = registry.ImportEvents((ImportEventsRequest(event=event) for event in events), timeout=timeout_s)
    if as_json:
        print_json({"events": len(events), "revision": response.revision})
    else:
        click.echo(f"{len(events)} events imported; revision {response.revision}")


def _read(file: Path) -> Sequence[Event]:
    """Return the events of `file`; all are read before the first is sent."""
    number, events = 0, []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - the error names the line
                events.append(_event(json.loads(line)))
    except OSError as error:
        raise Mistake(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, ParseError) as error:
        raise Mistake(f"{file}, line {number}: no event of an export: {error}") from error
    if not events:
        raise Mistake(f"{file} holds no events")
    return events


def _event(value: object) -> Event:
    if not isinstance(value, dict) or "revision" not in value:
        raise ValueError("it has no revision")
    return ParseDict(value, Event())
