"""`predictmesh apply`: make the registry's definitions what the files say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from predictmesh.registry.v1.registry_service_pb2 import (
    ApplyRequest,
    ApplyResponse,
    ChangeAction,
    FieldChange,
    Resource,
)
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.audit import actor, expected_revision_option, force_option, reason_option
from services.cli.client import connect
from services.cli.errors import Failure
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json
from services.cli.resources.cursor import Document
from services.cli.resources.files import read_resources
from services.cli.resources.places import in_document

_MARKS = {
    ChangeAction.CHANGE_ACTION_CREATED: ("+", "green", "created"),
    ChangeAction.CHANGE_ACTION_UPDATED: ("~", "yellow", "updated"),
    ChangeAction.CHANGE_ACTION_DELETED: ("-", "red", "deleted"),
    ChangeAction.CHANGE_ACTION_UNCHANGED: ("=", None, "unchanged"),
}


@click.command()
@click.option(
    "-f",
    "--file",
    "files",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="YAML documents of kind FeatureView, Model or Endpoint. Repeat for more files.",
)
@click.option("--dry-run", is_flag=True, help="Check and show the changes without making them.")
@click.option(
    "--allow-unready", is_flag=True, help="Let aliases and routes name versions that no model process serves."
)
@force_option("Apply in spite of gates that a version fails, or of a changed default that live versions read")
@expected_revision_option
@reason_option
@timeout_option()
@json_option
@connects("registry")
def command(
    files: tuple[Path, ...],
    timeout_s: float,
    as_json: bool,
    services: Services,
    **options: Any,
) -> None:
    """Create or update views, models and endpoints from YAML files.

    All files are one change: it is made as a whole, or not at all. What differs is printed field by field. A new model
    comes first, without aliases: then `predictmesh models register` adds its versions, which aliases and routes name.
    """
    documents = read_resources(files)
    request = ApplyRequest(resources=[resource for _, resource in documents], actor=actor(), **options)
    try:
        with connect(services.grpc("registry"), RegistryServiceStub) as registry:
            response = registry.Apply(request, timeout=timeout_s)
    except Failure as failure:
        raise type(failure)(_name_documents(failure.message, documents)) from failure
    if as_json:
        print_json(plain(response))
    else:
        _print_changes(response, request.dry_run)


_PATH = re.compile(
    r"\bresources\[(\d+)\](?:\.(?:feature_view|model|endpoint)\b)?(?:\.(\w+(?:\[\d+\])?(?:\.\w+(?:\[\d+\])?)*))?"
)


def _name_documents(text: str, documents: Sequence[tuple[Document, Resource]]) -> str:
    """Return `text` with every path into the request replaced by the place in the files that it came from."""

    def place(match: re.Match[str]) -> str:
        index = int(match[1])
        if index >= len(documents):
            return match[0]
        document, resource = documents[index]
        return f"{document}, {in_document(resource, match[2])}" if match[2] else str(document)

    return _PATH.sub(place, text)


def _print_changes(response: ApplyResponse, dry_run: bool) -> None:
    for change in response.changes:
        mark, color, _ = _MARKS[change.action]
        click.secho(f"{mark} {change.kind} {change.name}", fg=color)
        for field in change.fields:
            _print_field(field)
    counts = Counter(_MARKS[change.action][2] for change in response.changes)
    summary = ", ".join(f"{count} {what}" for what, count in counts.items())
    click.echo(f"{summary}; {'nothing is written, ' if dry_run else ''}revision {response.revision}")


def _print_field(field: FieldChange) -> None:
    if not field.before:
        click.secho(f"    + {field.path}: {field.after}", fg="green")
    elif not field.after:
        click.secho(f"    - {field.path}: {field.before}", fg="red")
    else:
        click.secho(f"    ~ {field.path}: {field.before} -> {field.after}", fg="yellow")
