"""A registry as a process of its own, to be killed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

LIMIT_S = 30


async def started(tmp_path: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A registry as a process, and its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.registry",
        env={
            "PATH": "",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
            "PREDICTMESH_REGISTRY_GRPC_PORT": "0",
            "PREDICTMESH_REGISTRY_HTTP_PORT": "0",
            "PREDICTMESH_REGISTRY_DATA_DIR": str(tmp_path / "registry"),
            "PREDICTMESH_REGISTRY_OBJECTS": f"file://{tmp_path}/objects",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT_S):
        while (line := await process.stderr.readline()) and b'"grpc"' not in line:
            pass
    return process, json.loads(line)["grpc"]
