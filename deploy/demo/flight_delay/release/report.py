"""What a person reads after the releases."""

from __future__ import annotations

import click

from deploy.demo.flight_delay.release.board import BOARD
from deploy.demo.flight_delay.release.definitions import BROKEN, HERE
from deploy.demo.flight_delay.release.summary import ArmSummary, Releases, ReleaseSummary, ShadowSummary
from services.cli.output import print_pairs, print_table


def print_releases(found: Releases) -> None:
    """Print each step of both releases, the quality of all versions, and what came of it."""
    click.echo()
    print_table(
        ["release", "share", "version", "answers", "failed", "p99", "outcomes", found.metric],
        [
            (f"{release.candidate} for {release.stable}", f"{step.percent:g} %", *_arm(arm))
            for release in (found.promoted, found.rolled_back)
            for step in release.steps
            for arm in (step.candidate, step.stable)
        ],
    )
    click.echo()
    print_table(
        ["version", "outcomes", "AUC", "log loss", "calibration error"],
        [
            (
                each.version,
                f"{each.outcomes:,}",
                _number(each.auc),
                _number(each.log_loss),
                _number(each.calibration_error),
            )
            for each in found.quality
        ],
    )
    click.echo(
        "of all that a version has answered, so of other hours than the others; a release compares the same hours"
    )
    click.echo()
    print_pairs(
        {
            "endpoint": f"{BOARD}: {found.requests:,} answers in {found.seconds:.1f} s, {found.outcomes:,} outcomes told "
            f"as the flights left, {found.awaited:,} still awaited",
            found.promoted.candidate: _fate(found.promoted),
            "shadow": _shadow(found.shadow),
            found.rolled_back.candidate: _fate(found.rolled_back),
            "since then": f"{found.answered_by} answers everything",
        }
    )


def passed(found: Releases) -> str:
    """Return in a few words what must be so, for the verdict on a demo in which it is."""
    good, bad = found.promoted, found.rolled_back
    return f"{good.candidate} promoted, {bad.candidate} taken back on quality alone after {bad.answered:,} answers"


def commands_to_try(program: str) -> list[str]:
    """Return command lines for the running services, after the releases."""
    return [
        f"{program} release status {BOARD}",
        f"{program} release gates flight-delay {BROKEN}",
        f"{program} release start {BOARD} {BROKEN} -f {HERE / 'plan.yaml'} --dry-run",
        f"{program} shadow report {BOARD}",
        f"{program} quality {BOARD} --every 24h",
        f"{program} events {BOARD}",
    ]


def _arm(arm: ArmSummary) -> tuple[str, ...]:
    return (
        arm.version,
        f"{arm.requests:,}",
        f"{arm.errors:,}",
        f"{arm.p99_ms:.1f} ms",
        f"{arm.outcomes:,}",
        _number(arm.quality),
    )


def _fate(release: ReleaseSummary) -> str:
    return (
        f"{release.state} after {release.answered:,} answers of its own, of {release.requests:,} since it was released, "
        f"and {release.outcomes:,} outcomes"
    )


def _shadow(shadow: ShadowSummary) -> str:
    return (
        f"{shadow.version} beside {shadow.primary}: {shadow.agreeing:,} of {shadow.rows:,} answers within "
        f"{shadow.tolerance:g}, at most {shadow.largest_difference:.2f} apart, {shadow.errors:,} failed, "
        f"{shadow.dropped:,} not asked"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
