"""What a person reads after a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from deploy.demo.flight_delay.online.chaos import ChaosSummary
from deploy.demo.flight_delay.online.sample import Sample
from deploy.demo.flight_delay.online.summary import AUC_TOLERANCE, Summary, VersionSummary
from services.cli.answers import print_answer
from services.cli.output import print_pairs, print_table


def print_summary(summary: Summary) -> None:
    """Print the versions, then the replay as a whole."""
    click.echo()
    print_table(
        ["version", "asked", "calls", "answers", "AUC online", "offline", "max diff", "whole", "p50", "p99"],
        [
            (
                each.version,
                each.asked,
                f"{each.calls:,}",
                f"{each.answers:,}",
                _auc(each.auc_online),
                _auc(each.auc_offline),
                f"{each.max_score_difference:.1g}",
                _auc(each.auc_offline_whole),
                f"{each.p50_ms:.1f} ms",
                f"{each.p99_ms:.1f} ms",
            )
            for each in summary.versions
        ],
    )
    click.echo(
        "offline: AUC of the same departures as the pipeline scored them; max diff: of the two scores of one departure\n"
        f"whole: offline AUC of all {summary.departures_whole:,} departures of October to December; "
        "that of a shorter window depends on its weather"
    )
    click.echo()
    print_pairs(
        {
            "window": f"{summary.departures:,} departures as of {summary.first_as_of} to {summary.last_as_of}, "
            f"in {summary.slices:,} steps of time",
            "answers": f"{summary.answers:,} in {summary.replay_s:.1f} s: {summary.answers_per_s:,.0f} a second",
            "writes": f"{summary.rows_written:,} feature rows, each before the answers that may know it: "
            f"{summary.rows_per_s:,.0f} a second",
            **{f"{each.version} on": _runtimes(each) for each in summary.versions},
            "Triton": summary.triton,
            **({"chaos": _chaos(summary.chaos)} if summary.chaos else {}),
            "failures": str(sum(summary.failures.values())),
            "degraded": f"{summary.degraded_answers:,} answers, and say so: {_degraded(summary)}",
        }
    )


def print_sample(sample: Sample) -> None:
    """Print one prediction in full, and where its time went."""
    click.echo("\nThe last departure, asked once more:\n")
    print_answer(sample.request, sample.response)
    sample.trace.show()


def print_verdict(summary: Summary, problems: Sequence[str], further: Sequence[str]) -> None:
    """Print whether all checks hold; `further` names those beside the summary's."""
    click.echo()
    for problem in problems:
        click.secho(f"FAILED  {problem}", fg="red")
    if not problems:
        click.secho(
            f"PASSED  AUC online and offline within {AUC_TOLERANCE:g}, no failure, no value from the future, every row stored"
            + "".join(f", {each}" for each in [*(["Triton killed and back"] if summary.chaos else []), *further]),
            fg="green",
        )


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _runtimes(version: VersionSummary) -> str:
    """Return who computed how many rows: `triton 6,412, onnx 588 (RUNTIME_FAILED 480, RUNTIME_SLOW 108)`."""
    rows = [f"{each.runtime} {each.rows:,}" + _reasons(each.stood_in) for each in version.runtimes]
    return f"{', '.join(rows) or 'nothing'}; {version.batch_rows:.1f} rows in a batch"


def _reasons(stood_in: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{reason} {rows:,}' for reason, rows in stood_in.items())})" if stood_in else ""


def _chaos(chaos: ChaosSummary) -> str:
    returned = "never answered again" if chaos.returned_s is None else f"answered again after {chaos.returned_s:.1f} s"
    return (
        f"Triton killed (SIGKILL) after {chaos.killed_after:,} departures: {chaos.stood_in:,} rows answered in its place; "
        f"{returned}, {chaos.returned:,} rows since"
    )


def _degraded(summary: Summary) -> str:
    return ", ".join(f"{item.subject} {item.reason} {item.answers:,}" for item in summary.degraded) or "none"
