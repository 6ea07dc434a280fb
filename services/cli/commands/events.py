"""`predictmesh events`: the registry's log in words."""

from __future__ import annotations

from collections.abc import Iterable

import click

from predictmesh.registry.v1.registry_service_pb2 import Event, GetSnapshotRequest
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.client import connect
from services.cli.events.log import follow_events, last_events
from services.cli.events.wording import Narrator, concerns, content_of
from services.cli.options import Services, connects, json_option, timeout_option
from services.cli.output import plain, print_json, print_line


@click.command()
@click.argument("endpoint", required=False)
@click.option("--follow", is_flag=True, help="Go on with each event as it comes, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show so many at most.")
@timeout_option()
@json_option
@connects("registry")
def command(
    endpoint: str | None, follow: bool, limit: int, timeout_s: float, as_json: bool, services: Services
) -> None:
    """Show what has happened to the definitions, and who did it.

    The last events of the registry's log, the newest at the end; with ENDPOINT, those that change it or its release. With
    --json and --follow, each is a line.
    """

    def wanted(event: Event) -> bool:
        return endpoint is None or concerns(event, endpoint)

    target = services.grpc("registry")
    with connect(target, RegistryServiceStub) as registry:
        present = registry.GetSnapshot(GetSnapshotRequest(), timeout=timeout_s).snapshot
        found = last_events(registry, present.revision, limit, wanted, timeout_s)
    narrator = Narrator()
    # All are told, so that each is told in the light of those before it.
    told = [(event, narrator.tell(event)) for event in found]
    shown = [(event, text) for event, text in told if wanted(event)][-limit:]
    if as_json and not follow:
        print_json([_plain(event, text) for event, text in shown])
        return
    if not shown and not follow:
        print(f"(no events of {endpoint}; `predictmesh endpoints` lists endpoints)" if endpoint else "(no events)")
    _print(shown, as_json)
    if follow:
        coming = follow_events(target, present.log_id, present.revision, timeout_s)
        news = ((event, narrator.tell(event)) for event in coming)
        _print(((event, text) for event, text in news if wanted(event)), as_json)


def _print(told: Iterable[tuple[Event, str]], as_json: bool) -> None:
    for event, text in told:
        if as_json:
            print_line(_plain(event, text))
        else:
            moment = event.time.ToJsonString()[: len("2013-10-01T12:00:00")]
            line = f"{event.revision:>5}  {moment}Z  {event.actor}: {text}"
            # At once: it may be long until the next.
            print(f"{line}\n       {event.reason}" if event.reason else line, flush=True)


def _plain(event: Event, text: str) -> dict[str, object]:
    return plain(event) | {"payload": content_of(event), "text": text}
