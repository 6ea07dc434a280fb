"""Golden sets: recorded inputs and outputs, which must be such as the version takes and gives."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.mesh.errors import MeshError
from services.registry.artifacts import Artifacts
from services.registry.definitions import Signature, Tensor, TensorSpec, Version
from services.registry.errors import InvalidDefinition
from services.registry.faults import Faults
from services.registry.names import check_unique, shown
from services.registry.tensors import Scalar, filled_list, fits, lists_of, values_of

MAX_BYTES = 1024 * 1024
MAX_ROWS = 256


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """Every input and output of a signature, by name, rows first."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class GoldenSets:
    """The golden sets among `artifacts`; `decode` reads the bytes of one, InvalidDefinition if they are none."""

    def __init__(self, artifacts: Artifacts, decode: Callable[[bytes], GoldenRows]) -> None:
        self._artifacts = artifacts
        self._decode = decode

    async def faults_of(self, version: Version, sizes: Mapping[str, int], path: str) -> Faults:
        """What is wrong with the version's golden set, if it has one that is there; `sizes` holds lengths in bytes."""
        faults, golden = Faults(), version.golden
        if golden is None or golden.sha256 not in sizes:
            return faults
        if sizes[golden.sha256] > MAX_BYTES:
            why = f"has {sizes[golden.sha256]} bytes, and a golden set at most {MAX_BYTES}: record fewer rows"
            faults.add(InvalidDefinition, f"{path}.golden.sha256", why)
            return faults
        data = await self._artifacts.read(golden.sha256)
        # In a thread: hundreds of thousands of values take long enough for others to notice.
        await asyncio.to_thread(self._check, data, version.signature, f"{path}.golden", faults)
        return faults

    def _check(self, data: bytes, signature: Signature, path: str, faults: Faults) -> None:
        try:
            rows = self._decode(data)
        except MeshError as error:
            faults.add(type(error), f"{path}.sha256", error.message)
        else:
            check_golden(rows, signature, path, faults)


def check_golden(rows: GoldenRows, signature: Signature, path: str, faults: Faults) -> None:
    """1 to 256 rows of every input and output of the signature, each of its type and shape."""
    first = next((tensor.shape[0] for tensor in (*rows.inputs, *rows.outputs) if tensor.shape), 0)
    if not 1 <= first <= MAX_ROWS:
        faults.add(InvalidDefinition, f"{path}.inputs", f"has {first} rows, and a golden set 1 to {MAX_ROWS}")
        return
    _check_tensors(rows.inputs, signature.inputs, first, f"{path}.inputs", faults)
    _check_tensors(rows.outputs, signature.outputs, first, f"{path}.outputs", faults)


def _check_tensors(
    tensors: tuple[Tensor, ...], specs: tuple[TensorSpec, ...], rows: int, path: str, faults: Faults
) -> None:
    known = {spec.name: spec for spec in specs}
    check_unique([tensor.name for tensor in tensors], path, "name", faults)
    for index, tensor in enumerate(tensors):
        if tensor.name in known:
            _check_tensor(tensor, known[tensor.name], rows, f"{path}[{index}]", faults)
        else:
            why = f"the signature has no {shown(tensor.name)} here, but {', '.join(known)}"
            faults.add(InvalidDefinition, f"{path}[{index}].name", why)
    missing = [name for name in known if name not in {tensor.name for tensor in tensors}]
    if missing:
        faults.add(InvalidDefinition, path, f"{', '.join(map(shown, missing))} is missing: record every one")


def _check_tensor(tensor: Tensor, spec: TensorSpec, rows: int, path: str, faults: Faults) -> None:
    shape, values = (rows, *spec.shape), values_of(tensor)
    if tensor.data_type is not spec.data_type:
        faults.add(
            InvalidDefinition, f"{path}.data_type", f"is {tensor.data_type}, the signature says {spec.data_type}"
        )
    elif tensor.shape != shape:
        faults.add(InvalidDefinition, f"{path}.shape", f"is {list(tensor.shape)}, the signature says {list(shape)}")
    elif tensor.null_rows:
        faults.add(InvalidDefinition, f"{path}.null_rows", "every row has values")
    elif filled_list(tensor) not in lists_of(spec.data_type) or len(values) != math.prod(shape):
        wanted = " or ".join(lists_of(spec.data_type))
        faults.add(InvalidDefinition, path, f"{math.prod(shape)} values stand in {wanted}, and only there")
    else:
        wrong = next((index for index, value in enumerate(values) if not _can_be(value, spec)), None)
        if wrong is not None:
            at = f"{path}.{filled_list(tensor)}[{wrong}]"
            kind = f"finite {spec.data_type}" if spec.finite else str(spec.data_type)
            faults.add(InvalidDefinition, at, f"{values[wrong]!r} is no {kind}")


def _can_be(value: Scalar, spec: TensorSpec) -> bool:
    """Unlike a default, a recorded value may be NaN or infinite, unless the signature refuses that."""
    if isinstance(value, float) and not math.isfinite(value):
        return not spec.finite
    return fits(value, spec.data_type)
