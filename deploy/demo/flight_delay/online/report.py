"""What a person reads after a replay."""

from __future__ import annotations

from collections.abc import Sequence

import click

from deploy.demo.flight_delay.online.sample import Sample
from deploy.demo.flight_delay.online.summary import AUC_TOLERANCE, Summary
from services.cli.answers import print_answer
from services.cli.output import print_pairs, print_table


def print_summary(summary: Summary) -> None:
    """Print the versions, then the replay as a whole."""
    click.echo()
    print_table(
        ["version", "asked", "answers", "AUC online", "AUC offline", "largest difference", "AUC of the quarter"],
        [
            (
                each.version,
                "by pin" if each.pinned else "by route",
                f"{each.answers:,}",
                _auc(each.auc_online),
                _auc(each.auc_offline),
                f"{each.max_score_difference:.1g}",
                _auc(each.auc_offline_whole),
            )
            for each in summary.versions
        ],
    )
    click.echo(
        f"Online and offline are of the same {summary.departures:,} departures, difference is of their scores.\n"
        f"Which days a window holds moves its AUC; how good the models are is the quarter's, "
        f"all {summary.departures_whole:,} departures offline."
    )
    click.echo()
    print_pairs(
        {
            "window": f"as of {summary.first_as_of} to {summary.last_as_of}, in {summary.slices:,} steps of time",
            "answers": f"{summary.predictions:,} in {summary.replay_s:.1f} s: {summary.predictions_per_s:,.0f} a second",
            "latency": f"p50 {summary.p50_ms:.1f} ms, p99 {summary.p99_ms:.1f} ms",
            "writes": f"{summary.rows_written:,} feature rows as they became known: {summary.rows_per_s:,.0f} a second beside the answers",
            "failures": sum(summary.failures.values()),
            "degraded": f"{summary.degraded_answers:,} answers, each saying why: {_degraded(summary)}",
        }
    )


def print_verdict(problems: Sequence[str]) -> None:
    """Print whether all checks hold."""
    click.echo()
    if problems:
        for problem in problems:
            click.secho(f"FAILED  {problem}", fg="red")
        return
    click.secho(
        f"PASSED  AUC agrees within {AUC_TOLERANCE:g}, no failure, no value from the future, every row stored",
        fg="green",
    )


def print_sample(sample: Sample) -> None:
    """Print one prediction in full, and where its time went."""
    click.echo("\nThe last departure, asked once more:\n")
    print_answer(sample.request, sample.response)
    sample.trace.show()


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _degraded(summary: Summary) -> str:
    return ", ".join(f"{item.subject} {item.reason} {item.answers:,}" for item in summary.degraded) or "none"
