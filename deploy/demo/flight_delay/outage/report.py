"""What a person reads after the outage."""

from __future__ import annotations

from collections.abc import Mapping

import click

from deploy.demo.flight_delay.online.messages import ENDPOINT
from deploy.demo.flight_delay.outage.summary import Outage
from services.cli import durations
from services.cli.output import print_pairs, print_table


def print_outage(outage: Outage) -> None:
    """Print what each step of the ladder did."""
    click.echo()
    print_table(
        ["ladder", "version", "answered", "took", "left to the next step, and why"],
        [
            (each.step, each.version, f"{each.answered:,}", durations.rounded(each.p50_ms * 1e3), _left(each.left))
            for each in outage.steps
        ],
    )
    print_pairs(outage.messages)
    click.echo(
        f"{ENDPOINT} without a model process: {sum(outage.failures.values())} failures; the ladder's answers took "
        f"{outage.p50_ms:.1f} ms (p50) and {outage.p99_ms:.1f} ms (p99), last answers were at most "
        f"{outage.oldest_ms / 1e3:.1f} s old; the route's version answered everything again after {outage.back_s:.1f} s"
    )


def passed() -> str:
    """Return in a few words what must be so, for the verdict on a demo in which it is."""
    return "no failure without a model process"


def _left(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {number:,}" for reason, number in reasons.items())
