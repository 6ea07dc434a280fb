"""The online answers beside the offline scores: everything between running services and the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from deploy.demo.flight_delay.definitions import RECORDING, read_versions
from deploy.demo.flight_delay.online.chaos import Chaos
from deploy.demo.flight_delay.online.definitions import define
from deploy.demo.flight_delay.online.session import load, replay
from deploy.demo.flight_delay.online.summary import Summary, summarize
from deploy.demo.flight_delay.online.triton import Triton
from deploy.demo.flight_delay.online.ways import ways_of
from deploy.demo.flight_delay.replay import Departure, Recording
from deploy.demo.flight_delay.train import read_metrics
from services.cli.options import Services
from services.cli.progress import Progress


@dataclass(frozen=True)
class Comparison:
    """The numbers, and the departure that was asked last: the store still is as its prediction found it."""

    summary: Summary
    last: Departure


def compare(
    services: Services,
    trained: Path,
    departures: int,
    announce: Callable[[str], None],
    triton: Triton,
    *,
    chaos: bool = False,
) -> Comparison:
    """Define what the empty services need, load the state, and replay the first departures of the test window.

    Every version is asked about every departure: the one that the endpoint routes to without a pin, the others by pin.
    `announce` is called with each step that is done. In `chaos` Triton is killed when a third of them are done.
    """
    info = define(services, trained, triton=triton.used)
    versions = [version.version for version in read_versions()]
    announce(f"views and versions {', '.join(versions)} registered; {info.name} is answered by {info.version}")
    recording = Recording(trained / RECORDING)
    rows = uvloop.run(load(services, recording))
    announce(f"{rows:,} feature rows loaded, the state of October 1; the replay begins")
    ways, count = ways_of(versions, info.version), min(departures, len(recording))
    killing = Chaos(services.data, count // 3) if chaos else None
    with Progress("replaying", count, "departures") as progress:

        def advance(done: int) -> None:
            progress.advance(done)
            if killing:
                killing.advance(done)

        played = uvloop.run(replay(services, recording, count, ways, advance))
    announce("the replay has ended")
    auc_whole = {version: read_metrics(trained, version)["auc"] for version in versions}
    return Comparison(summarize(played, ways, auc_whole, triton.words, killing), played.last)
