"""First batches of a loaded model: they allocate, teach its cost, and show whether it keeps to its signature."""

from __future__ import annotations

from services.mesh.errors import MeshError
from services.model.datatypes import DTYPES, Array, blank
from services.model.errors import InvalidOutput, RuntimeFailed
from services.model.runtimes import LoadedModel
from services.model.versions import Signature, TensorSpec

# The first batch of a size is slow, so each size comes twice; two sizes tell the fixed cost from the cost of a row.
_ROWS = (1, 32, 1, 32)
TIMEOUT_S = 60.0
"""Time for one batch of a warm-up: a GPU compiles kernels at the first."""


async def warm_up(model: LoadedModel, signature: Signature, most_rows: int) -> None:
    """Run batches of zeros; raises RuntimeFailed, or InvalidOutput when an output is not as the signature says."""
    for rows in _ROWS:
        await _run(model, signature, min(rows, most_rows))


async def _run(model: LoadedModel, signature: Signature, rows: int) -> None:
    inputs = {spec.name: blank(spec.datatype, spec.batch_shape(rows)) for spec in signature.inputs}
    try:
        outputs = await model.infer(inputs, TIMEOUT_S)
    except MeshError as error:
        detail = f"{error.message}: {error.__cause__}" if error.__cause__ else error.message
        raise RuntimeFailed(f"a warm-up batch of {rows} rows of zeros failed: {detail}") from error
    for spec in signature.outputs:
        _check(spec, outputs.get(spec.name), rows)


def _check(spec: TensorSpec, output: Array | None, rows: int) -> None:
    if output is None:
        raise InvalidOutput(f"the model answered no output {spec.name!r}")
    if output.dtype != DTYPES[spec.datatype]:
        raise InvalidOutput(f"output {spec.name!r} came as {output.dtype}, the signature says {spec.datatype}")
    if output.shape != spec.batch_shape(rows):
        wanted, came = list(spec.batch_shape(rows)), list(output.shape)
        raise InvalidOutput(f"output {spec.name!r} of {rows} rows came in shape {came}, the signature says {wanted}")
