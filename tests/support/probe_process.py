"""The probe as a process of its own. Its Apply waits until the file named by `reason` exists, once it has written `actor`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from services.mesh.errors import InvalidArgument, NotReady
from services.mesh.lifecycle import Service, main
from tests.support import probe
from tests.support.probe import new_probe, servicers
from tests.support.waiting import eventually


class Settings(probe.Settings):
    """`fault` is what the service says while it is built."""

    fault: Literal["", "setting", "peer"] = ""


async def _wait(request: Any, context: Any) -> None:
    Path(request.actor).touch()
    await eventually(Path(request.reason).exists, within_s=60)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Service]:
    """Build the service."""
    if settings.fault:
        raise (InvalidArgument if settings.fault == "setting" else NotReady)(f"a fault of the {settings.fault}")
    answering = new_probe()
    answering.act = _wait
    yield Service("probe", servicers(answering), ready=lambda: "", status=lambda: {"answers": 42})


if __name__ == "__main__":
    main(Settings, build)
