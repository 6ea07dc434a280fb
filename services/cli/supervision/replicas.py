"""How many processes of each service an `up` is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from services.cli.errors import Mistake
from services.cli.triton.choice import OWN

SCALED = ("gateway", "features", "model")
"""Services that may have several processes."""
MOST = 8
"""Processes of one service at most: more help nobody on one machine."""
_SINGLE = {
    "registry": "the one writer of the log; the others go on without it, and it is back in a moment",
    "valkey": "the one store; --redis names a cluster of yours",
    "triton": "there is one for each process of the model service",
}


class Replicas(click.ParamType[Mapping[str, int]]):
    """`SERVICE=COUNT,...`, as a mapping; empty text is an empty mapping."""

    name = "replicas"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Mapping[str, int]:
        """Return the count of each service that is named."""
        if isinstance(value, Mapping):
            return value
        counts: dict[str, int] = {}
        for part in str(value).split(",") if value else ():
            service, count = self._one(part.strip(), param, ctx)
            if service in counts:
                self.fail(f"{service} is given twice", param, ctx)
            counts[service] = count
        return counts

    def _one(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        service, equals, count = text.partition("=")
        if not service or not equals:
            self.fail(f"{text!r} is not of the form SERVICE=COUNT, e.g. gateway=2,features=2", param, ctx)
        if service in _SINGLE and count != "1":
            self.fail(f"{service} has one process: {_SINGLE[service]}", param, ctx)
        if service not in {*SCALED, *_SINGLE}:
            self.fail(f"no service {service!r}: there are {', '.join(SCALED)}", param, ctx)
        if not (count.isascii() and count.isdecimal()) or not 1 <= int(count) <= MOST:
            self.fail(f"{service}={count}: a service has 1 to {MOST} processes", param, ctx)
        return service, int(count)


def check_replicas(replicas: Mapping[str, int], topology: str) -> None:
    """Raise Mistake if so many processes cannot be run."""
    several = [f"{service}={count}" for service, count in replicas.items() if count > 1]
    if several and topology == "monolith":
        raise Mistake(f"--replicas {','.join(several)}: a monolith is one process (--topology mesh has several)")
    if replicas.get("model", 1) > 1 and (own := os.environ.get(OWN)):
        raise Mistake(
            f"--replicas model={replicas['model']}: each process of the model service needs a Triton of its own, and "
            f"{OWN} names one, {own} (unset it, or run one process)"
        )
