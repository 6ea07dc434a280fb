"""How a Triton is started: its arguments, its environment and its directory of backends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.cli.traces.store import EXPORT_DELAY_MS
from services.cli.triton.installation import Installation
from services.cli.triton.platforms import PYTHON, library_directory

_HOST = "127.0.0.1"
_OURS = Path(__file__).parent / "backends"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Triton's processes share tensors
# One region a Python process; it grows with the tensors.
_SHARED_BYTES = 1 << 20


@dataclass(frozen=True)
class TritonPorts:
    """Where a server listens, on loopback."""

    http: int
    grpc: int
    metrics: int

    @property
    def shared_memory_prefix(self) -> str:
        """How its shared memory is named: two servers may not share a prefix, as they cannot share a port."""
        return f"predictmesh_{self.grpc}_"


@dataclass(frozen=True)
class Launch:
    """A command and all of its environment."""

    command: Sequence[str]
    env: Mapping[str, str]


def launch(installation: Installation, directory: Path, ports: TritonPorts, *, otlp_url: str = "") -> Launch:
    """Return how to start a server in a prepared `directory`. It has no model at first: they are loaded by request.

    `otlp_url` is where spans go, OTLP over HTTP with its path; empty for no spans.
    """
    command = [str(installation.binary), *_arguments(directory, ports), *(_tracing(otlp_url) if otlp_url else [])]
    if installation.environment is None:
        return Launch(command, os.environ.copy())
    # No GPU can be used by this build: it has no backend for one.
    command += [f"--backend-directory={directory / 'backends'}", "--allow-gpu-metrics=0"]
    return Launch([*command, "--pinned-memory-pool-byte-size=0"], _environment(installation.environment))


def prepare(installation: Installation, directory: Path, ports: TritonPorts) -> None:
    """Lay out `directory` before the first start: backends of this release, and all that `tidy` sees to.

    No server may be running on these ports.
    """
    tidy(directory, ports)
    if installation.environment is not None:
        _lay_out_backends(directory / "backends", installation.tree)


def tidy(directory: Path, ports: TritonPorts) -> None:
    """Make `directory` fit for a start, after whatever end: a model repository that keeps what it has, and no old memory.

    No server may be running on these ports.
    """
    repository(directory).mkdir(parents=True, exist_ok=True)
    forget_shared_memory(ports)


def forget_shared_memory(ports: TritonPorts) -> None:
    """Remove what a server left that was killed together with its Python processes; alone they would do it."""
    for left in _SHARED_MEMORY.glob(f"{ports.shared_memory_prefix}*"):
        left.unlink(missing_ok=True)


def repository(directory: Path) -> Path:
    """Return the model repository of a server that runs in `directory`."""
    return directory / "repository"


def _arguments(directory: Path, ports: TritonPorts) -> list[str]:
    listening = [
        f"--{name}={value}"
        for kind, port in {"http": ports.http, "grpc": ports.grpc, "metrics": ports.metrics}.items()
        for name, value in {f"{kind}-address": _HOST, f"{kind}-port": port}.items()
    ]
    shared_memory = {
        "shm-default-byte-size": _SHARED_BYTES,
        "shm-growth-byte-size": _SHARED_BYTES,
        "shm-region-prefix-name": ports.shared_memory_prefix,
    }
    return [
        f"--model-repository={repository(directory)}",
        "--model-control-mode=explicit",
        # The configuration says all; to have it guessed costs a second start of each model.
        "--disable-auto-complete-config",
        # A model that cannot be loaded makes no server unready.
        "--strict-readiness=0",
        "--exit-timeout-secs=5",
        # It sleeps for as long between looks at the processors, and does not stop while it sleeps.
        "--metrics-interval-ms=250",
        "--log-info=0",
        *listening,
        *(f"--backend-config=python,{name}={value}" for name, value in shared_memory.items()),
    ]


def _tracing(otlp_url: str) -> list[str]:
    settings = {
        "mode": "opentelemetry",
        "level": "TIMESTAMPS",
        # Of calls that bring no trace, none. It takes every one that does for sampled: callers send only those.
        "rate": 0,
        "opentelemetry,url": otlp_url,
        "opentelemetry,resource": "service.name=predictmesh-triton",
        "opentelemetry,bsp_schedule_delay": EXPORT_DELAY_MS,
    }
    return [f"--trace-config={name}={value}" for name, value in settings.items()]


def _environment(environment: Path) -> dict[str, str]:
    # Triton's Python processes import from the environment of the first python3 on PATH.
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    return kept | {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.defpath}",
        "LD_LIBRARY_PATH": str(library_directory()),
    }


def _lay_out_backends(backends: Path, tree: Path) -> None:
    (backends / "python").mkdir(parents=True, exist_ok=True)
    (backends / "onnxruntime").mkdir(exist_ok=True)
    source = tree / "backends" / "python"
    # A link would count as a way out of the directory, and is refused for backends that build on this one.
    _copy(source / "libtriton_python.so", backends / "python")
    _copy(_OURS / "onnxruntime" / "model.py", backends / "onnxruntime")
    _link(source / "triton_python_backend_utils.py", backends / "python")
    # It finds its own libraries by where it really lies.
    _link(tree / "python_backend_stubs" / PYTHON / "triton_python_backend_stub", backends / "python")


def _copy(source: Path, directory: Path) -> None:
    # Moved into place whole: a server that runs has the old one mapped.
    partial = directory / f".{source.name}.{os.getpid()}"
    shutil.copyfile(source, partial)
    partial.replace(directory / source.name)


def _link(source: Path, directory: Path) -> None:
    partial = directory / f".{source.name}.{os.getpid()}"
    partial.unlink(missing_ok=True)
    partial.symlink_to(source)
    partial.replace(directory / source.name)
