"""A version's artifacts: files for runtimes, and a look at them before anything is sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from predictmesh.registry.v1.model_pb2 import Artifact, Model, Version
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.cli.errors import Mistake, from_mesh_error
from services.mesh.errors import MeshError

if TYPE_CHECKING:
    from services.model.versions import Version as DecodedVersion

OIP = "oip"
# As the wire names what a file with this suffix holds; onnx goes without saying.
FORMATS = {".onnx": "", ".plan": "tensorrt_plan", ".pt": "pytorch", ".py": "python", ".pbtxt": "ensemble"}
SUFFIXES = {"triton": tuple(FORMATS), "onnx": (".onnx",)}


def read_artifact(runtime: str, path: Path) -> Artifact:
    """Describe a file for a runtime; Mistake if it cannot be read, or is none that the runtime loads."""
    if runtime == OIP:
        raise Mistake(f"a server of the Open Inference Protocol has its model: --runtime {OIP} --target, no --artifact")
    if runtime not in SUFFIXES:
        raise Mistake(f"no runtime {runtime!r} loads artifacts: there are {' and '.join(SUFFIXES)}")
    if path.suffix not in SUFFIXES[runtime]:
        raise Mistake(f"{runtime} loads no {path.suffix or 'file'} like {path}, but {', '.join(SUFFIXES[runtime])}")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Artifact(runtime=runtime, sha256=digest, size_bytes=file.tell(), format=FORMATS[path.suffix])
    except OSError as error:
        raise Mistake(f"cannot read the {runtime} artifact {path}: {error.strerror}") from error


def check_artifacts(model: str, version: Version, files: Sequence[tuple[Artifact, Path]]) -> None:
    """Load each ONNX file as a model process would; Mistake if that fails or the signature is another.

    Files of other formats cannot be loaded here: their model processes report what is wrong.
    """
    from services.model.convert import decode_catalog

    (decoded,) = decode_catalog(Snapshot(models=[Model(name=model, versions=[version])]))[model]
    try:
        # One file may serve several runtimes.
        for path in {artifact.sha256: path for artifact, path in files if not artifact.format}.values():
            _load(decoded, path)
    except MeshError as error:
        raise from_mesh_error(error) from error


def _load(version: DecodedVersion, path: Path) -> None:
    from services.model.runtimes.onnx import OnnxRuntime
    from services.model.versions import Artifact as DecodedArtifact
    from services.model.versions import Placement

    runtime = OnnxRuntime(threads=1, intra_op_threads=1)
    try:
        asyncio.run(runtime.load(Placement(version, DecodedArtifact(runtime.name, "")), path))
    finally:
        runtime.close()


def artifact_text(artifact: Artifact) -> str:
    """Return e.g. `triton onnx 12 KiB`, `onnx 12 KiB` or `oip models.example:8001/ranker`."""
    if artifact.runtime == OIP:
        return f"{OIP} {artifact.target}"
    held = [] if artifact.runtime == "onnx" else [artifact.format or "onnx"]
    return " ".join([artifact.runtime, *held, f"{-(-artifact.size_bytes // 1024)} KiB"])
