"""`predictmesh triton`: the Triton Inference Server that `up` starts."""

from __future__ import annotations

import click

from services.cli.options import json_option
from services.cli.output import note, print_json


@click.group()
def command() -> None:
    """Install Triton for `up`, or see why there is none."""


@command.command()
@json_option
def install(as_json: bool) -> None:
    """Install Triton beside predictmesh, in an environment of its own.

    It computes on the CPU. Nothing happens where it is installed already, or where there is a `tritonserver` on PATH,
    as in NVIDIA's images: that one comes first.
    """
    from services.cli.triton import install as installing
    from services.cli.triton.installation import default_environment, on_path

    if on_path() is None:
        installing.install(default_environment(), note)
    _show(as_json)


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Say which Triton `up` would start; exit code 1, and why, if none."""
    _show(as_json)


def _show(as_json: bool) -> None:
    from services.cli.triton.installation import find

    binary = str(find().binary)
    if as_json:
        print_json({"binary": binary})
    else:
        click.echo(f"Triton: {binary}")
