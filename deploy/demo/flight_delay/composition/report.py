"""What a person reads after the alternatives have been compared."""

from __future__ import annotations

import click

from deploy.demo.flight_delay.composition.definitions import ALTERNATIVES, CASCADE
from deploy.demo.flight_delay.composition.summary import AlternativeSummary, Trial
from services.cli.output import print_table


def print_trial(trial: Trial) -> None:
    """Print the alternatives in one table."""
    click.echo()
    services = list(trial.alternatives[0].cpu_us)
    # One that is all of them has nothing to add.
    parts = services if len(services) > 1 else []
    print_table(
        ["alternative", "version", "AUC", "offline", "whole", "at stage one", "CPU", *parts, "p50", "p99"],
        [_row(each, parts) for each in trial.alternatives],
    )
    click.echo(
        f"{trial.departures:,} departures, {trial.callers} callers about each at the same time, one alternative after another "
        f"at each step of time: {trial.seconds:.1f} s\n"
        f"CPU: user and system time a prediction of {' + '.join(parts) or 'the process that is all services'}\n"
        "offline: AUC of what the recorded scores of both models make of these departures; whole: of the whole window"
    )


def passed(trial: Trial) -> str:
    """Return in a few words what must be so, for the verdict on a demo in which it is."""
    share = next(_share(each) for each in trial.alternatives if each.version == CASCADE)
    return f"a cascade and an ensemble as the offline scores make them, {share} answered at stage one"


def commands_to_try(program: str) -> list[str]:
    """Return command lines for the running services."""
    return [f"{program} graph show {each.endpoint}" for each in ALTERNATIVES if each.version == CASCADE]


def _row(each: AlternativeSummary, services: list[str]) -> tuple[str, ...]:
    return (
        each.name,
        each.version,
        _auc(each.auc_online),
        _auc(each.auc_offline),
        _auc(each.auc_offline_whole),
        _share(each),
        f"{each.cpu_us_all:,.0f} us",
        *(f"{each.cpu_us[service]:,.0f} us" for service in services),
        f"{each.p50_ms:.1f} ms",
        f"{each.p99_ms:.1f} ms",
    )


def _share(each: AlternativeSummary) -> str:
    return "" if each.at_first is None else f"{each.at_first / max(1, each.answers):.0%}"


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
