"""The probe as a process of its own. Its Apply waits until the file named by `reason` exists, once it has written `actor`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from services.mesh.lifecycle import Service, main
from tests.support.probe import Settings, new_probe, servicers
from tests.support.waiting import eventually


async def _wait(request: Any, context: Any) -> None:
    Path(request.actor).touch()
    await eventually(Path(request.reason).exists, within_s=60)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[Service]:
    """Build the service."""
    probe = new_probe()
    probe.act = _wait
    yield Service("probe", servicers(probe), ready=lambda: "", status=lambda: {"answers": 42})


if __name__ == "__main__":
    main(Settings, build)
