"""`predictmesh up`: all services on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import click

from services.cli.errors import Failure, Mistake
from services.cli.options import data_option, triton_option
from services.cli.output import print_line
from services.cli.supervision.access import Access, access_options, chosen_access
from services.cli.supervision.options import Options, TopologyName
from services.cli.supervision.ports import COUNT, STRIDE, Ports, at, check_free, choose
from services.cli.supervision.replicas import SCALED, Replicas, check_replicas
from services.cli.supervision.state import owned, write_line
from services.cli.supervision.supervisor import Supervisor
from services.cli.supervision.topology import Topology, lay_out
from services.cli.tls import Tls, chosen, tls_options
from services.cli.triton import choice
from services.cli.triton.choice import TritonMode
from services.cli.triton.launch import prepare
from services.mesh.telemetry import logs


@click.command()
@click.option(
    "--topology",
    type=click.Choice(["mesh", "monolith"]),
    default="mesh",
    show_default=True,
    help="Four processes that call each other, or all four services in one process.",
)
@click.option(
    "--port-base",
    type=click.IntRange(1_024, 65_536 - COUNT),
    help=f"First of {COUNT} ports to use instead of the default ones: gRPC from N, HTTP from N+10, others from N+20.",
)
@click.option(
    "--replicas",
    type=Replicas(),
    default="",
    metavar="SERVICE=COUNT,...",
    help=f"Processes of {', '.join(SCALED)}, where one is not enough; of one service they are {STRIDE} ports apart.",
)
@click.option("--redis", "redis_url", default="", metavar="URL", help="Store to use instead of the embedded one.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True,
    help="Least severity that is logged, on stderr.",
)  # fmt: skip
@click.option(
    "--trace-sample-ratio", type=click.FloatRange(0, 1), default=0.1, show_default=True,
    help="Fraction of calls traced, of those whose caller has not decided.",
)  # fmt: skip
@triton_option
@access_options
@tls_options
@data_option
def command(
    topology: TopologyName,
    port_base: int | None,
    replicas: Mapping[str, int],
    redis_url: str,
    log_level: str,
    trace_sample_ratio: float,
    triton_mode: TritonMode,
    data: Path,
    **files: Path | None,
) -> None:
    """Run all services on this machine, in the foreground.

    When they are ready, one line of JSON on stdout says where they are; other commands find it in the data directory.
    What dies is started again, and `predictmesh restart` starts it anew. Ctrl-C stops all in order, a second one at once. Spans go to the embedded receiver, or
    to OTEL_EXPORTER_OTLP_ENDPOINT (gRPC) where that is set; Triton's then to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (HTTP).
    """
    logs.configure("up", log_level)
    check_replicas(replicas, topology)
    options = Options(
        topology=topology,
        ports=choose(port_base, max(replicas.values(), default=1)),
        data=data,
        redis_url=redis_url,
        otlp_endpoint=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        log_level=log_level,
        trace_sample_ratio=trace_sample_ratio,
        triton=choice.choose(triton_mode),
        triton_required=triton_mode == "required",
        triton_otlp_url=os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        replicas=replicas,
        tls=_tls(files),
        access=_access(files, topology),
    )
    layout = lay_out(options)
    with owned(data):
        check_free(layout.ports)
        if options.triton is not None:
            for each in options.tritons:
                prepare(options.triton, options.directory(each.name), each.ports.triton)
        asyncio.run(_run(options, layout))


def _tls(files: Mapping[str, Path | None]) -> Tls | None:
    tls = chosen(files["ca"], files["cert"], files["key"])
    if tls is not None and tls.cert is None:
        raise Mistake("--ca is given with --cert and --key, which every service shows to the others")
    return tls


def _access(files: Mapping[str, Path | None], topology: TopologyName) -> Access | None:
    # A certificate may do instead of a key, if the access file says so.
    needs_token = topology == "mesh" and files["cert"] is None
    return chosen_access(files["access_file"], files["services_token_file"], needs_token=needs_token)


async def _run(options: Options, layout: Topology) -> None:
    announced = False

    def announce(line: dict[str, object]) -> None:
        nonlocal announced
        write_line(options.data, line)
        if not announced:
            print_line(line)
        announced = True

    # The receiver outlives the processes, which send their last spans when they stop.
    with contextlib.ExitStack() as stack:

        def receive() -> None:
            if not options.otlp_endpoint:
                _open_receiver(stack, options.ports)

        await Supervisor(layout, announce=announce, started=receive).run()


def _open_receiver(stack: contextlib.ExitStack, ports: Ports) -> None:
    # Imported while the processes start: it takes as long as one of them.
    from services.cli.traces.receiver import receiving

    try:
        stack.enter_context(receiving(at(ports.traces_grpc), at(ports.traces_http)))
    except OSError as error:
        raise Failure(f"cannot receive traces: {error}") from error
