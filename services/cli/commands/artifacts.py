"""`predictmesh artifacts`: what versions were uploaded with."""

from __future__ import annotations

import click

from predictmesh.registry.v1.registry_service_pb2 import DeleteRequest
from services.cli.deletion import Deletion, deletes


@click.group()
def command() -> None:
    """Delete artifacts that no version names any more."""


@command.command("delete")
@click.argument("sha256")
@deletes
def delete(sha256: str, deletion: Deletion) -> None:
    """Delete the artifact or golden set SHA256 from object storage.

    `predictmesh models show NAME --json` tells the digests of a model's artifacts while their versions are there.
    """
    deletion.make(DeleteRequest(artifact=sha256), f"artifact {sha256}")
