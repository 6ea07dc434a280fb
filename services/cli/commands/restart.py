"""`predictmesh restart`: services anew, without a failed call where each has two processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from services.cli import durations
from services.cli.options import Duration, data_option, json_option
from services.cli.output import note, print_json
from services.cli.restarting.members import Fleet, Member
from services.cli.restarting.rolling import Limits, Restarted, Rolling
from services.cli.supervision.state import restarting

_WITHOUT = {
    "registry": "predictions go on while it is away; definitions, outcomes and releases wait",
    "features": "predictions take what their endpoints fall back to, or fail, and writes fail, while it is away",
    "model": "predictions take what their endpoints fall back to, or fail, while it is away",
    "gateway": "calls fail while it is away",
}


@click.command()
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Longest time for a process to end, and as long for it to be ready again.",
)
@json_option
@data_option
def command(services: Sequence[str], timeout_s: float, as_json: bool, data: Path) -> None:
    """Restart services of the running `up`, all by default, one process at a time.

    Each finishes what it has taken, and the next one's turn comes when it is ready and its callers have found it again.
    Where a service has two processes (`up --replicas gateway=2,features=2,model=2`), no call fails: a client lists the
    addresses of all gateways, and watches their health. If a process does not get ready, the others are left alone.
    """
    fleet = Fleet(data)
    members = fleet.members(services)
    with restarting(data):
        for member in members:
            if member.alone:
                note(f"{member.name} is one process: {_without(member)}")
        done = Rolling(fleet, Limits(ready_s=timeout_s)).run(members)
        if as_json:
            print_json([_plain(restarted) for restarted in done])
            return
        for restarted in done:
            click.echo(_told(restarted))


def _without(member: Member) -> str:
    return _WITHOUT["gateway" if member.name == "monolith" else member.service]


def _plain(restarted: Restarted) -> dict[str, object]:
    connections = {"before": restarted.before, "now": restarted.now}
    return {"name": restarted.member.name, "seconds": round(restarted.seconds, 3), "connections": connections}


def _told(restarted: Restarted) -> str:
    took = durations.rounded(restarted.seconds * 1e6)
    text = f"{restarted.member.name} ready again after {took}"
    if restarted.before and restarted.now is not None:
        text += f", {min(restarted.before, restarted.now)} of {restarted.before} connections back"
    return text
