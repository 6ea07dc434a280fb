"""`predictmesh triton`: the Triton Inference Server that `up` starts."""

from __future__ import annotations

import click

from services.cli.output import note


@click.group()
def command() -> None:
    """Install Triton for `up`, or see why there is none."""


@command.command()
def install() -> None:
    """Install Triton beside predictmesh, in an environment of its own.

    It computes on the CPU. Nothing happens where it is installed already, or where there is a `tritonserver` on PATH,
    as in NVIDIA's images: that one comes first.
    """
    from services.cli.triton import install as installing
    from services.cli.triton.installation import default_environment, on_path

    if on_path() is None:
        installing.install(default_environment(), note)
    note(_found())


@command.command()
def check() -> None:
    """Say which Triton `up` would start; exit code 1, and why, if none."""
    note(_found())


def _found() -> str:
    from services.cli.triton.installation import find

    return f"Triton: {find().binary}"
