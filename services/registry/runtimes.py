"""Which runtimes there are, and what an artifact for each of them is."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace

from services.registry.definitions import Artifact, Version
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.names import check_part, is_sha256, shown

TRITON, ONNX, OIP = "triton", "onnx", "oip"
_FORMATS = ("onnx", "tensorrt_plan", "pytorch", "python", "ensemble")
FORMATS = {TRITON: _FORMATS, ONNX: ("onnx",), OIP: ()}
"""What each runtime loads; a server of the Open Inference Protocol has its models itself."""

_TARGET = re.compile(r"(?P<host>\[[^\]/]*\]|[^:/]*):(?P<port>\d{1,5})(/[!-.0-~]{1,128}){0,2}")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_MAX_HOST = 253


def canonical(version: Version) -> Version:
    """The version with the format that goes without saying left out, so that both ways of saying it are one."""
    return replace(version, artifacts=tuple(map(_canonical, version.artifacts)))


def _canonical(artifact: Artifact) -> Artifact:
    said = artifact.format == "onnx" and artifact.runtime != OIP
    return replace(artifact, format="") if said else artifact


def check_artifact(artifact: Artifact, path: str, faults: Faults) -> None:
    """Bytes of a format that the runtime loads, or the target of a server; never both."""
    check_part(artifact.runtime, f"{path}.runtime", faults)
    if artifact.runtime == OIP:
        _check_server(artifact, path, faults)
        return
    if not is_sha256(artifact.sha256):
        faults.add(InvalidDefinition, f"{path}.sha256", "a SHA-256 is 64 digits of lower-case hex")
    loaded = FORMATS.get(artifact.runtime, _FORMATS)
    if (artifact.format or "onnx") not in loaded:
        known = ", ".join(loaded)
        faults.add(
            InvalidDefinition,
            f"{path}.format",
            f"{artifact.runtime} does not load {shown(artifact.format)}, but {known}",
        )
    if artifact.target:
        faults.add(InvalidDefinition, f"{path}.target", f"only runtime {OIP} has a target")


def check_known(artifacts: tuple[Artifact, ...], path: str, faults: Faults) -> None:
    """Runtimes that a model process can have. For new versions: what is registered stays as it is."""
    for index, artifact in enumerate(artifacts):
        if artifact.runtime and artifact.runtime not in FORMATS:
            known = ", ".join(FORMATS)
            faults.add(
                InvalidDefinition,
                f"{path}[{index}].runtime",
                f"there is no runtime {shown(artifact.runtime)}, only {known}",
            )


def _check_server(artifact: Artifact, path: str, faults: Faults) -> None:
    for name in ("sha256", "format"):
        if getattr(artifact, name):
            faults.add(InvalidDefinition, f"{path}.{name}", f"runtime {OIP} has no bytes: its server has the model")
    if not _is_target(artifact.target):
        faults.add(
            InvalidDefinition,
            f"{path}.target",
            f"{shown(artifact.target)} is not HOST:PORT[/MODEL[/VERSION]], with a port of 1 to 65535",
        )


def _is_target(text: str) -> bool:
    match = _TARGET.fullmatch(text)
    return match is not None and _is_host(match["host"]) and 1 <= int(match["port"]) <= 65535


def _is_host(text: str) -> bool:
    """A name, an IPv4 address, or an IPv6 address in brackets."""
    if not text.startswith("["):
        return len(text) <= _MAX_HOST and _HOST.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True
