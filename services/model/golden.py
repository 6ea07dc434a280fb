"""Golden sets: whether a runtime gives the outputs that were recorded for a version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from services.mesh.errors import MeshError
from services.model.artifacts import Artifacts
from services.model.datatypes import DTYPES, FLOATS, Array
from services.model.errors import InvalidGolden
from services.model.runtimes import LoadedModel
from services.model.statuses import GoldenState
from services.model.versions import GoldenSet, Signature, TensorSpec, Version

# As for a warm-up batch: a GPU may still compile a kernel for a batch of this size.
_TIMEOUT_S = 60.0
_MOST_SHOWN = 60

_Mask: TypeAlias = npt.NDArray[np.bool_]
_Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GoldenRows:
    """Recorded inputs and outputs by name, each with the same number of rows."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def check(self, signature: Signature) -> int:
        """Return the number of rows; InvalidGolden unless every input and output is there as the signature says."""
        rows = next((len(values) for values in self.inputs.values() if values.ndim), 0)
        for specs, recorded in ((signature.inputs, self.inputs), (signature.outputs, self.outputs)):
            for spec in specs:
                values = recorded.get(spec.name)
                if values is None or values.dtype != DTYPES[spec.datatype] or values.shape != spec.batch_shape(rows):
                    raise InvalidGolden(f"the golden set does not hold {spec.name!r} as the signature says")
        return rows


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the recorded outputs came out; the message says where not. Unless `final`, another try may tell more."""

    state: GoldenState = GoldenState.NOT_RUN
    message: str = ""
    final: bool = True


class GoldenSets:
    """Reads golden sets from artifacts; `decode` makes rows of their bytes, InvalidGolden if they hold none."""

    def __init__(self, artifacts: Artifacts, decode: Callable[[bytes], GoldenRows]) -> None:
        self._artifacts = artifacts
        self._decode = decode

    async def verdict(self, version: Version, model: LoadedModel, most_rows: int) -> Verdict:
        """Ask a loaded model for a version's golden outputs, in batches of `most_rows` at most. Never raises MeshError."""
        if version.golden is None:
            return Verdict()
        try:
            rows = await self._read(version.golden)
            wrong = await _difference(rows, version, version.golden, model, most_rows)
        except MeshError as error:
            cause = f": {error.__cause__}" if error.__cause__ else ""
            return Verdict(GoldenState.FAILED, f"the golden set could not be run: {error.message}{cause}", final=False)
        return Verdict(GoldenState.FAILED, wrong) if wrong else Verdict(GoldenState.PASSED)

    async def _read(self, golden: GoldenSet) -> GoldenRows:
        path = await self._artifacts.path(golden.sha256)
        return await asyncio.to_thread(lambda: self._decode(path.read_bytes()))


async def _difference(rows: GoldenRows, version: Version, golden: GoldenSet, model: LoadedModel, most_rows: int) -> str:
    count = rows.check(version.signature)
    parts = []
    for start in range(0, count, most_rows):
        batch = {name: values[start : start + most_rows] for name, values in rows.inputs.items()}
        parts.append(await model.infer(batch, _TIMEOUT_S))
    # The warm-up has seen that every output comes.
    computed = {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in version.signature.outputs}
    return difference(rows.outputs, computed, golden, version.signature)


def difference(
    recorded: Mapping[str, Array], computed: Mapping[str, Array], golden: GoldenSet, signature: Signature
) -> str:
    """Name the element that is farthest beyond the tolerance, of the first output that has one; "" if none has."""
    told = (_difference_of(spec, recorded[spec.name], computed[spec.name], golden) for spec in signature.outputs)
    return next(filter(None, told), "")


def _difference_of(spec: TensorSpec, recorded: Array, computed: Array, golden: GoldenSet) -> str:
    if computed.shape != recorded.shape or computed.dtype != recorded.dtype:
        came, wanted = f"{computed.dtype} {list(computed.shape)}", f"{recorded.dtype} {list(recorded.shape)}"
        return f"output {spec.name!r} came as {came}, recorded is {wanted}"
    if spec.datatype in FLOATS:
        excess = _excess(recorded.astype(np.float64), computed.astype(np.float64), golden)
    else:
        excess = np.where(recorded == computed, -np.inf, np.inf)
    beyond: _Mask = excess > 0
    if not beyond.any():
        return ""
    worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
    row, *element = map(int, worst)
    place = f"output {spec.name!r}, row {row}" + (f", element {element}" if element else "")
    number = f"; {np.count_nonzero(beyond)} of {beyond.size} elements differ" if beyond.size > 1 else ""
    return f"{place}: recorded {_shown(recorded[worst])}, computed {_shown(computed[worst])}{number}"


def _excess(recorded: _Numbers, computed: _Numbers, golden: GoldenSet) -> _Numbers:
    """By how much each element is farther off than the tolerance: at most 0 where it is equal enough."""
    equal = (recorded == computed) | (np.isnan(recorded) & np.isnan(computed))
    finite = np.isfinite(recorded) & np.isfinite(computed)
    with np.errstate(invalid="ignore", over="ignore"):
        allowed = golden.absolute_tolerance + golden.relative_tolerance * np.abs(recorded)
        beyond = np.abs(computed - recorded) - allowed
    # An infinite value is equal to itself only, and no number is equal to NaN, whatever the tolerance.
    return np.where(equal, -np.inf, np.where(finite, beyond, np.inf))


def _shown(value: Any) -> str:  # noqa: ANN401 - an element of any array
    text = (
        str(value) if isinstance(value, np.floating) else repr(value.item() if isinstance(value, np.generic) else value)
    )
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
