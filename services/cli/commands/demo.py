"""`predictmesh demo`: train on real flights, serve, replay the test window, release versions on it, and compose them."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from services.cli.errors import Failure, Mistake
from services.cli.options import Services, data_option, json_option, triton_option
from services.cli.output import plain, print_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.demo.flight_delay.online.comparison import Comparison
    from deploy.demo.flight_delay.online.running import Running
    from deploy.demo.flight_delay.online.sample import Sample
    from deploy.demo.flight_delay.online.steps import Steps
    from deploy.demo.flight_delay.parts import Part
    from services.cli.supervision.options import TopologyName
    from services.cli.triton.choice import TritonMode


@click.command()
@click.option(
    "--departures",
    type=click.IntRange(1, 60_000),
    default=7_000,
    show_default=True,
    help="Departures to compare, from the first of October on; the default is about a week. What follows takes its own.",
)
@click.option(
    "--topology",
    type=click.Choice(["mesh", "monolith"]),
    default="mesh",
    show_default=True,
    help="Four processes that call each other, or all four services in one process.",
)
@click.option("--port-base", type=click.IntRange(1_024, 65_510), help="First of 26 ports to use. Default: free ones.")
@click.option("--keep", is_flag=True, help="Leave the services running until Ctrl-C, and tell what to try.")
@triton_option
@click.option(
    "--chaos",
    is_flag=True,
    help="Kill Triton in mid-replay, and in the end the model process; nothing may fail, and both come back.",
)
@json_option
@data_option
def command(
    departures: int,
    topology: TopologyName,
    port_base: int | None,
    keep: bool,
    triton_mode: TritonMode,
    chaos: bool,
    as_json: bool,
    data: Path,
) -> int:
    """Train on real flights, serve, replay the test window, release versions on it, and compose them.

    Three models learn from January to August 2013 who leaves New York late (once; later runs find them trained). Then
    services of the demo's own start under DATA/demo with an empty store, and are asked about real departures in the
    order of time, one hour before each is due, while the features follow what becomes known. The widest model runs on
    Triton where this machine has one. Then 1.1.0 is released in place of 1.0.0, step by step, and so is a broken 1.2.0,
    while outcomes are told as the flights leave. At last a cascade and an ensemble of two of them answer beside each
    alone. Exit code 1 unless the answers are as good as offline, none fails and none has seen the future, 1.1.0 wins and
    1.2.0 is taken back on quality alone.
    """
    from deploy.demo.flight_delay.online.comparison import compare
    from deploy.demo.flight_delay.online.running import reset, running
    from deploy.demo.flight_delay.online.steps import Steps
    from deploy.demo.flight_delay.online.triton import chosen, require_for_chaos
    from deploy.demo.flight_delay.parts import play

    if chaos:
        require_for_chaos(triton_mode)
        triton_mode = "required"
    step = Steps(aside=as_json)
    trained, data = data / "demo" / "trained", data / "demo" / "up"
    # First of all, as it fails where a demo is running.
    reset(data)
    _train(trained, step)
    with running(data, topology, port_base, triton_mode) as up:
        step(f"services run as a {topology}: gateway {up.line['gateway']}, log {up.log}")
        services, triton = Services({}, data), chosen(triton_mode, up.line)
        comparison = compare(services, trained, departures, step, triton, chaos=chaos)
        sample, shown = _show(services, comparison, as_json)
        # In a monolith there is no model process that could end alone.
        outage, start = chaos and topology == "mesh", comparison.summary.departures
        parts = play(services, trained, start, step, outage=outage, quiet=as_json)
        found = _conclude(comparison, parts, shown, as_json)
        if keep:
            _keep(up, sample, as_json)
    return 1 if found else 0


def _train(trained: Path, step: Steps) -> None:
    try:
        from deploy.demo.flight_delay.train import ensure

        made = ensure(trained, step)
    except ModuleNotFoundError as error:
        raise Mistake(f"the demo needs {error.name}: pip install 'predictmesh[demo]'") from error
    step(f"{'trained' if made else 'trained before'}: {trained}")


def _show(services: Services, comparison: Comparison, as_json: bool) -> tuple[Sample, dict[str, object]]:
    """Print what came of the replay, unless as JSON; return the sample prediction, and what is to be printed then."""
    from deploy.demo.flight_delay.online import report
    from deploy.demo.flight_delay.online.sample import ask_traced

    if not as_json:
        report.print_summary(comparison.summary)
    sample = ask_traced(services, comparison.last)
    if not as_json:
        report.print_sample(sample)
        click.echo()
        return sample, {}
    # Traces are kept for a while only, and more requests are to come.
    return sample, {**asdict(comparison.summary), "prediction": plain(sample.response), "trace": sample.trace.spans()}


def _conclude(
    comparison: Comparison, parts: Sequence[Part], shown: Mapping[str, object], as_json: bool
) -> Sequence[str]:
    """Print the verdict, or everything as JSON; return what is not as it must be."""
    from deploy.demo.flight_delay.online import report, summary

    found = [*summary.problems(comparison.summary), *(problem for part in parts for problem in part.problems)]
    if as_json:
        print_json({**shown, **{part.name: asdict(part.found) for part in parts}, "problems": found})
    else:
        report.print_verdict(comparison.summary, found, [part.passed for part in parts])
    return found


def _keep(up: Running, sample: Sample, as_json: bool) -> None:
    """Return at Ctrl-C. Failure if the services end before."""
    from deploy.demo.flight_delay.composition import report as composition
    from deploy.demo.flight_delay.online.sample import commands_to_try
    from deploy.demo.flight_delay.release import report as release

    program = "predictmesh" if shutil.which("predictmesh") else ".venv/bin/predictmesh"
    click.echo("\nThe services run until Ctrl-C. In another terminal:\n", err=as_json)
    own = commands_to_try(program, up.data, sample)
    for line in [*own, *release.commands_to_try(program), *composition.commands_to_try(program)]:
        click.echo(f"  {line}", err=as_json)
    try:
        up.process.wait()
    except KeyboardInterrupt:
        return
    raise Failure(f"the services have ended; their log: {up.log}")
