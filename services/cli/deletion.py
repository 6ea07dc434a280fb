"""Deleting a definition, after asking."""

from __future__ import annotations

from dataclasses import dataclass, fields

import click

from predictmesh.registry.v1.registry_service_pb2 import DeleteRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.audit import actor, reason_option
from services.cli.client import connect
from services.cli.options import Command, Services, connects, gather, json_option, timeout_option
from services.cli.output import plain, print_json


@dataclass(frozen=True)
class Deletion:
    """What stands on the command line of every command that deletes."""

    yes: bool
    reason: str
    timeout_s: float
    as_json: bool
    services: Services

    def make(self, request: DeleteRequest, what: str) -> None:
        """Delete the target of `request`, which is called `what`, unless the person says no."""
        if not self.yes:
            click.confirm(f"Delete {what}?", abort=True, err=True)
        request.actor, request.reason = actor(), self.reason
        with connect(self.services.grpc("registry"), RegistryServiceStub) as registry:
            response = registry.Delete(request, timeout=self.timeout_s)
        if self.as_json:
            print_json(plain(response))
        else:
            click.echo(f"deleted {what}; revision {response.revision}")


def deletes(command: Command) -> Command:
    """Add the options of a deletion, given together as `deletion`."""
    run = connects("registry")(gather(command, "deletion", Deletion, [field.name for field in fields(Deletion)]))
    for option in (
        json_option,
        timeout_option(),
        reason_option,
        click.option("--yes", is_flag=True, help="Do not ask."),
    ):
        run = option(run)
    return run  # type: ignore[return-value]  # the same command with other parameters
