"""Calls of the release service, whose refusals name the arguments of a command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from services.cli.client import connect
from services.cli.errors import Failure
from services.cli.options import Services

_ARGUMENTS = {"endpoint": "ENDPOINT", "model": "MODEL", "candidate": "VERSION", "version": "VERSION"}
# Such a field is told behind the message and its reason.
_FIELD = re.compile(rf"(?<=\] \()({'|'.join(_ARGUMENTS)})(?=[;:)])")


@contextmanager
def release_service(services: Services) -> Iterator[ReleaseServiceStub]:
    """Open a stub of the release service; a call that fails within ends the command."""
    try:
        with connect(services.grpc("registry"), ReleaseServiceStub) as releases:
            yield releases
    except Failure as failure:
        raise type(failure)(_FIELD.sub(lambda match: _ARGUMENTS[match[1]], failure.message)) from failure
