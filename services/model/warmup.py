"""First batches of a loaded model: they allocate, teach its cost, and show whether it keeps to its signature."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.mesh.errors import MeshError
from services.model.datatypes import DTYPES, Array, blank
from services.model.errors import InvalidOutput, RuntimeFailed
from services.model.runtimes import LoadedModel
from services.model.versions import Signature, TensorSpec

# Two sizes tell the fixed cost from the cost of a row.
_ROWS = (1, 32)
# A GPU compiles kernels at the first batch.
_TIMEOUT_S = 60.0


async def warm_up(
    model: LoadedModel,
    signature: Signature,
    most_rows: int,
    learn: Callable[[int, float], None],
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Run batches of zeros, and tell `learn` the rows and seconds of those that are not the first of their size.

    Raises RuntimeFailed, or InvalidOutput when an output is not as the signature says.
    """
    sizes = sorted({min(rows, most_rows) for rows in _ROWS})
    for rows in sizes:
        await _run(model, signature, rows, timeout_s)
    for rows in sizes:
        started = time.perf_counter()
        await _run(model, signature, rows, timeout_s)
        learn(rows, time.perf_counter() - started)


def blank_rows(signature: Signature, rows: int) -> dict[str, Array]:
    """Make a batch of zeros and empty byte strings."""
    return {spec.name: blank(spec.datatype, spec.batch_shape(rows)) for spec in signature.inputs}


async def _run(model: LoadedModel, signature: Signature, rows: int, timeout_s: float) -> None:
    try:
        outputs = await model.infer(blank_rows(signature, rows), timeout_s)
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
