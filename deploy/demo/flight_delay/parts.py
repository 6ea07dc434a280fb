"""What the demo does after the comparison with the offline scores, a part at a time: each prints what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from deploy.demo.flight_delay.composition import report as composition_report
from deploy.demo.flight_delay.composition import summary as composition_summary
from deploy.demo.flight_delay.composition.trial import compare_alternatives
from deploy.demo.flight_delay.online.steps import Steps
from deploy.demo.flight_delay.outage import report as outage_report
from deploy.demo.flight_delay.outage import summary as outage_summary
from deploy.demo.flight_delay.outage.course import play_outage
from deploy.demo.flight_delay.release import report as release_report
from deploy.demo.flight_delay.release import summary as release_summary
from deploy.demo.flight_delay.release.course import play_releases
from services.cli.options import Services


@dataclass(frozen=True)
class Part:
    """One part: a dataclass of what it `found`, what is not as it must be, and in a few words what must."""

    name: str
    found: Any
    problems: Sequence[str]
    passed: str


def play(services: Services, trained: Path, start: int, step: Steps, *, outage: bool, quiet: bool) -> list[Part]:
    """Release versions, compare compositions, and with `outage` kill the model process; from departure `start` on."""
    releases = play_releases(services, trained, start, step)
    parts = [Part("releases", releases, release_summary.problems(releases), release_report.passed(releases))]
    if not quiet:
        release_report.print_releases(releases)
        click.echo()
    start += releases.departures
    trial = compare_alternatives(services, trained, start, step)
    parts += [Part("compositions", trial, composition_summary.problems(trial), composition_report.passed(trial))]
    if not quiet:
        composition_report.print_trial(trial)
    if outage:
        if not quiet:
            click.echo()
        found = play_outage(services, trained, start + trial.departures, step)
        parts += [Part("outage", found, outage_summary.problems(found), outage_report.passed())]
        if not quiet:
            outage_report.print_outage(found)
    return parts
