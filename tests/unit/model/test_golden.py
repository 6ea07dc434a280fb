"""Golden sets: what counts as the recorded output, and what is said where another came."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from predictmesh.registry.v1.model_pb2 import GoldenRows
from services.mesh.errors import StoreUnavailable, UpstreamUnavailable
from services.model.artifacts import Artifacts
from services.model.convert import decode_golden
from services.model.datatypes import Array
from services.model.errors import InvalidGolden, RuntimeFailed
from services.model.golden import GoldenSets, Verdict, difference
from services.model.statuses import GoldenState
from services.model.versions import Artifact, GoldenSet, Signature, TensorSpec, Version
from tests.support.gated_model import GatedModel, PickyModel
from tests.support.golden import golden_set, tensor, texts

NAN, INF = float("nan"), float("inf")
F32 = np.float32


def compared(recorded: Array, computed: Array, datatype: str = "FP32", absolute: float = 0, relative: float = 0) -> str:
    """What is said of one output."""
    signature = Signature((), (TensorSpec("y", datatype, recorded.shape[1:]),))
    return difference({"y": recorded}, {"y": computed}, GoldenSet("", absolute, relative), signature)


@pytest.mark.parametrize(
    ("recorded", "computed", "absolute", "relative"),
    [
        ([0.5, -0.5], [0.5, -0.5], 0, 0),
        ([0.5], [0.75], 0.25, 0),
        ([0.5], [0.25], 0.25, 0),
        ([-4.0], [-5.0], 0, 0.25),
        ([4.0], [5.5], 0.5, 0.25),
        ([NAN, 1.0], [NAN, 1.0], 0, 0),
        ([INF, -INF], [INF, -INF], 0, 0.1),
        ([0.0], [-0.0], 0, 0),
    ],
)
def test_what_is_within_the_tolerance_passes(
    recorded: list[float], computed: list[float], absolute: float, relative: float
) -> None:
    """A part that is fixed, and one that grows with what is recorded; its ends count as within."""
    assert "" == compared(np.array(recorded, F32), np.array(computed, F32), absolute=absolute, relative=relative)


@pytest.mark.parametrize(
    ("recorded", "computed", "said"),
    [
        ([0.5, 0.5], [0.5, 0.625], "output 'y', row 1: recorded 0.5, computed 0.625; 1 of 2 elements differ"),
        ([1.0, 8.0, 2.0], [1.5, 10.5, 2.5], "row 1: recorded 8.0, computed 10.5; 3 of 3 elements differ"),
        ([NAN], [0.5], "recorded nan, computed 0.5"),
        ([0.5], [NAN], "recorded 0.5, computed nan"),
        ([0.5, 0.5], [99.0, INF], "row 1: recorded 0.5, computed inf"),
        ([INF], [-INF], "recorded inf, computed -inf"),
        ([INF], [1e30], "recorded inf"),
    ],
)
def test_the_element_that_is_farthest_off_is_named(recorded: list[float], computed: list[float], said: str) -> None:
    """With its row, what was recorded, what came, and how many differ; an infinite tolerance does not come of infinity."""
    assert said in compared(np.array(recorded, F32), np.array(computed, F32), relative=0.2)


def test_the_place_in_a_row_is_named() -> None:
    """By its index in each dimension of the row."""
    recorded = np.zeros((3, 2, 4), F32)
    computed = recorded.copy()
    computed[2, 1, 3] = 1
    assert "row 2, element [1, 3]:" in compared(recorded, computed)


def test_the_worst_is_by_how_far_it_is_beyond_what_is_allowed() -> None:
    """A large difference of a large value may be allowed where a small one is not."""
    said = compared(np.array([1000.0, 1.0], F32), np.array([1090.0, 2.0], F32), relative=0.1)
    assert "row 1: recorded 1.0, computed 2.0; 1 of 2" in said


@pytest.mark.parametrize("datatype", ["INT64", "UINT64", "INT8", "BOOL"])
def test_whole_numbers_are_exact(datatype: str) -> None:
    """No tolerance applies, and no digit is lost by floating point."""
    kind = np.bool_ if datatype == "BOOL" else np.dtype(datatype.lower())
    recorded = np.array([0, 1], kind)
    assert "" == compared(recorded, recorded.copy(), datatype)
    assert "row 0" in compared(recorded, np.array([1, 1], kind), datatype, absolute=10)
    if datatype == "INT64":
        large = np.array([2**62], kind)
        assert f"recorded {2**62}, computed {2**62 + 1}" in compared(large, large + 1, datatype, relative=1)


def test_byte_strings_are_exact() -> None:
    """A long one is shown cut."""
    assert "" == compared(texts(b"a", b"b"), texts(b"a", b"b"), "BYTES")
    said = compared(texts(b"a", b"b"), texts(b"a", b"c" * 1000), "BYTES")
    assert "row 1: recorded b'b', computed b'ccc" in said
    assert len(said) < 200


def test_half_precision_is_compared_in_double() -> None:
    """The difference of two halves need not be one."""
    recorded, computed = np.array([1.0], np.float16), np.array([1.001], np.float16)
    assert "" == compared(recorded, computed, "FP16", absolute=1e-3)
    assert "row 0" in compared(recorded, computed, "FP16", absolute=9e-4)


@pytest.mark.parametrize(
    ("computed", "said"),
    [
        (np.zeros((2, 1), F32), "came as float32 [2, 1], recorded is float32 [2]"),
        (np.zeros(1, F32), "came as float32 [1]"),
        (np.zeros(2, np.float64), "came as float64 [2]"),
    ],
)
def test_another_shape_or_type_is_another_output(computed: Array, said: str) -> None:
    """Nothing is stretched to fit."""
    assert said in compared(np.zeros(2, F32), computed)


X = np.array([1, 2, 3, 4, 5], F32)
SIGNATURE = Signature((TensorSpec("x", "FP32", ()),), (TensorSpec("y", "FP32", ()),))


class Storage:
    """Object storage with one golden set, which a test may take away."""

    def __init__(self, directory: Path, content: bytes) -> None:
        self.content: bytes | None = content
        self.down = False
        self.sets = GoldenSets(Artifacts(directory, self._fetch), decode_golden)
        golden = GoldenSet(hashlib.sha256(content).hexdigest())
        self.version = Version("m", "1.0.0", "d", SIGNATURE, (Artifact("onnx", "1" * 64),), golden)

    async def _fetch(self, sha256: str) -> bytes:
        if self.down:
            raise StoreUnavailable("the bucket is away")
        if self.content is None:
            raise KeyError(sha256)
        return self.content

    async def verdict(self, model: GatedModel, most_rows: int = 256) -> Verdict:
        """Ask a model."""
        return await self.sets.verdict(self.version, model, most_rows)


async def test_a_runtime_that_gives_the_recorded_outputs_passes(tmp_path: Path) -> None:
    """In batches that are no larger than any other."""
    storage, model = Storage(tmp_path, golden_set({"x": X}, {"y": X + 1})), GatedModel(1)
    assert Verdict(GoldenState.PASSED) == await storage.verdict(model, most_rows=2)
    assert [[1, 2], [3, 4], [5]] == model.batches


async def test_a_runtime_that_gives_others_fails_for_good(tmp_path: Path) -> None:
    """The row counts through all batches."""
    storage = Storage(tmp_path, golden_set({"x": X}, {"y": X + np.array([1, 1, 1, 0, 1], F32)}))
    verdict = await storage.verdict(GatedModel(1), most_rows=2)
    assert (GoldenState.FAILED, True) == (verdict.state, verdict.final)
    assert "output 'y', row 3: recorded 4.0, computed 5.0; 1 of 5 elements differ" == verdict.message


async def test_a_version_without_a_golden_set_has_no_verdict(tmp_path: Path) -> None:
    """And its runtime is not asked."""
    storage, model = Storage(tmp_path, b""), GatedModel()
    plain = Version("m", "1.0.0", "d", SIGNATURE, ())
    assert Verdict() == await storage.sets.verdict(plain, model, 8)
    assert [] == model.batches


class Failing(GatedModel):
    """Fails with the runtime's own words."""

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        raise RuntimeFailed("the runtime failed") from ValueError("index 7 is out of bounds")


@pytest.mark.parametrize(
    ("model", "said"),
    [(Failing(), "the runtime failed: index 7 is out of bounds"), (PickyModel(), "thirteen")],
    ids=["always", "by its values"],
)
async def test_a_runtime_that_cannot_compute_the_inputs_fails_until_it_can(
    tmp_path: Path, model: GatedModel, said: str
) -> None:
    """It may have failed for a reason of its own, so another try may tell more."""
    storage = Storage(tmp_path, golden_set({"x": X + 12}, {"y": X + 12}))
    verdict = await storage.verdict(model)
    assert (GoldenState.FAILED, False) == (verdict.state, verdict.final)
    assert "could not be run" in verdict.message
    assert said in verdict.message
    assert GoldenState.PASSED is (await storage.verdict(GatedModel())).state


async def test_a_golden_set_that_cannot_be_fetched_fails_until_it_can(tmp_path: Path) -> None:
    """Storage that is away, bytes that are not there, and bytes of another digest each have their words."""
    storage = Storage(tmp_path, golden_set({"x": X}, {"y": X}))
    content = storage.content
    storage.down = True
    assert "the bucket is away" in (await storage.verdict(GatedModel())).message
    storage.down, storage.content = False, None
    assert "object storage has no artifact" in (await storage.verdict(GatedModel())).message
    storage.content = b"other bytes"
    verdict = await storage.verdict(GatedModel())
    assert "bytes of digest" in verdict.message
    assert not verdict.final
    storage.content = content
    assert Verdict(GoldenState.PASSED) == await storage.verdict(GatedModel())


@pytest.mark.parametrize(
    "content",
    [
        b"no message",
        golden_set({}, {"y": X}),
        golden_set({"x": X}, {}),
        golden_set({"x": X}, {"y": X[:2]}),
        golden_set({"x": X.astype(np.float64)}, {"y": X}),
        golden_set({"x": X}, {"y": X.reshape(5, 1)}),
    ],
)
async def test_rows_that_do_not_fit_the_signature_are_told(tmp_path: Path, content: bytes) -> None:
    """The registry lets none pass, but a backup may come from elsewhere."""
    model = GatedModel()
    assert "golden set" in (await Storage(tmp_path, content).verdict(model)).message
    assert [] == model.batches


async def test_a_runtime_that_is_away_disturbs_nothing(tmp_path: Path) -> None:
    """It is no error of the load."""
    storage, model = Storage(tmp_path, golden_set({"x": X}, {"y": X})), GatedModel()
    model.failure = UpstreamUnavailable("gone")
    assert "gone" in (await storage.verdict(model)).message


def test_every_type_is_read_as_it_was_written() -> None:
    """Values, types and shapes, rows first."""
    arrays: dict[str, Array] = {
        kind: np.array([[0, 1], [1, 0], [1, 1]], kind)
        for kind in ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
    }
    arrays |= {kind: np.array([0.5, NAN, -INF], kind) for kind in ("float16", "float32", "float64")}
    arrays["text"] = texts(b"a", b"\xff", b"")
    rows = decode_golden(golden_set(arrays, {}))
    assert list(arrays) == list(rows.inputs)
    for name, values in arrays.items():
        assert values.dtype == rows.inputs[name].dtype
        np.testing.assert_array_equal(values, rows.inputs[name])


@pytest.mark.parametrize("parts", [{"shape": [7]}, {"data_type": 0}, {"data_type": 99}])
def test_a_tensor_that_cannot_be_read_is_no_golden_set(parts: dict[str, object]) -> None:
    """Values that do not fill the shape, or of no type that is known."""
    with pytest.raises(InvalidGolden):
        decode_golden(GoldenRows(inputs=[tensor("x", X, **parts)]).SerializeToString())
