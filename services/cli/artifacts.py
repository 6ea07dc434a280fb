"""A look at a version's artifacts before anything is sent: what no model process could load is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.cli.errors import from_mesh_error
from services.mesh.errors import MeshError


def check_artifacts(model: str, version: Version, artifacts: Sequence[tuple[str, Path]]) -> None:
    """Load each ONNX artifact as a model process would; Mistake if that fails or the signature is another.

    Artifacts of other runtimes cannot be loaded here: their model processes report what is wrong.
    """
    from services.model.convert import decode_catalog
    from services.model.runtimes.onnx import OnnxRuntime
    from services.model.versions import Placement

    (decoded,) = decode_catalog(Snapshot(models=[Model(name=model, versions=[version])]))[model]
    runtime = OnnxRuntime(threads=1, intra_op_threads=1)
    try:
        for artifact, (name, path) in zip(decoded.artifacts, artifacts, strict=True):
            if name == runtime.name:
                asyncio.run(runtime.load(Placement(decoded, artifact), path))
    except MeshError as error:
        raise from_mesh_error(error) from error
    finally:
        runtime.close()
