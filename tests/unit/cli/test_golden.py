"""Golden sets as people write them, and what is uploaded of them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictmesh.model.v1.runtime_pb2 import GoldenState, RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Artifact, GoldenSet, Model, Signature, TensorSpec, Version
from services.cli.errors import Mistake
from services.cli.registration import Registered, Registration, in_file, print_registered, register
from services.cli.resources.files import read_golden_file
from services.cli.resources.golden import MAX_BYTES
from services.cli.standings import golden_of, messages_of
from services.cli.values import DATA_TYPES
from services.model.convert import decode_golden
from tests.support.golden import golden_set, texts
from tests.support.onnx_models import linear
from tests.unit.cli.test_artifacts import VERSION, Registry

SIGNATURE = Signature(
    inputs=[
        TensorSpec(name="x", data_type=DATA_TYPES["FP32"], shape=[2]),
        TensorSpec(name="city", data_type=DATA_TYPES["BYTES"]),
    ],
    outputs=[TensorSpec(name="p", data_type=DATA_TYPES["FP64"], shape=[1, 2])],
)
DOCUMENT = """\
inputs:
  x: [[1, 0.5], [.nan, -2]]
  city: [Berlin, ""]
outputs:
  p: [[[1e-6, .inf]], [[3, null]]]
absolute_tolerance: 1e-6
relative_tolerance: 0.5
"""


def read(directory: Path, text: str, name: str = "golden.yaml") -> Any:
    """What a file records."""
    (directory / name).write_text(text)
    return read_golden_file(directory / name, SIGNATURE)


def test_rows_get_the_types_and_shapes_of_the_signature(tmp_path: Path) -> None:
    """In its order, whatever the order in the file; the digest is that of the bytes."""
    golden = read(tmp_path, DOCUMENT)
    rows = decode_golden(golden.content)
    expected = decode_golden(
        golden_set(
            {"x": np.array([[1, 0.5], [math.nan, -2]], np.float32), "city": texts(b"Berlin", b"")},
            {"p": np.array([[[1e-6, math.inf]], [[3, math.nan]]])},
        )
    )
    assert ["x", "city"] == list(rows.inputs)
    for found, wanted in ((rows.inputs, expected.inputs), (rows.outputs, expected.outputs)):
        for name, values in wanted.items():
            assert values.dtype == found[name].dtype
            np.testing.assert_array_equal(values, found[name])
    assert hashlib.sha256(golden.content).hexdigest() == golden.message.sha256
    assert (1e-6, 0.5) == (golden.message.absolute_tolerance, golden.message.relative_tolerance)


def test_json_as_programs_write_it_is_read_too(tmp_path: Path) -> None:
    """With numbers that YAML 1.1 takes for text, and what is no number in JSON."""
    written = json.dumps(
        {
            "outputs": {"p": [[[1e-06, math.inf]], [[3, math.nan]]]},
            "inputs": {"city": ["Berlin", ""], "x": [[1, 0.5], [math.nan, -2.0]]},
            "absolute_tolerance": 1e-06,
            "relative_tolerance": 0.5,
        }
    )
    assert "1e-06" in written
    assert read(tmp_path, DOCUMENT) == read(tmp_path, written, "golden.json")


BAD = [
    ("x: [[1, 0.5], [.nan, -2]]", "x: [[1, 0.5], [2, true]]", "inputs.x[1][1]: True is no FP32"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: [[1, 0.5], [2, a]]", "inputs.x[1][1]: 'a' is no FP32"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: [[1, 0.5], [2, 1e39]]", "inputs.x[1][1]: 1e+39 is outside of FP32"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: [[1, 0.5], [2]]", "inputs.x[1]: has 1 elements, and the signature says 2"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: [1, 0.5]", "inputs.x[0]: must be a list"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: 7", "inputs.x: must be a list"),
    ("x: [[1, 0.5], [.nan, -2]]", "x: []", "inputs.x: has 0 rows, and a golden set 1 to 256"),
    ("[Berlin, ", "[Berlin, Bonn, ", "inputs.city: has 3 rows, and x has 2"),
    ("[Berlin, ", "[7, ", "inputs.city[0]: 7 is no BYTES"),
    ("[Berlin, ", "[null, ", "inputs.city[0]: None is no BYTES"),
    ("  city:", "  town:", "unknown key"),
    ('  city: [Berlin, ""]\n', "", "inputs: city is missing"),
    ("[[3, null]]", "[[3, null], [1, 1]]", "outputs.p[1]: has 2 elements, and the signature says 1"),
    ("1e-6\nrel", "-1e-6\nrel", "absolute_tolerance: -1e-06 is less than 0"),
    ("relative_tolerance: 0.5", "relative_tolerance: .nan", "relative_tolerance: must be finite"),
    ("relative_tolerance: 0.5", "tolerance: 0.5", "tolerance: unknown key"),
    ("outputs:", "output:", "did you mean outputs?"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), BAD)
def test_what_does_not_fit_is_named_by_its_place(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    """File, path and reason."""
    assert right in DOCUMENT
    with pytest.raises(Mistake) as caught:
        read(tmp_path, DOCUMENT.replace(right, wrong, 1))
    assert str(tmp_path / "golden.yaml") in caught.value.message
    assert message in caught.value.message


def test_a_golden_set_is_small(tmp_path: Path) -> None:
    """It is read by every process that loads the version."""
    text = DOCUMENT.replace("Berlin", "B" * MAX_BYTES)
    with pytest.raises(Mistake, match="record fewer rows"):
        read(tmp_path, text)
    rows = ["[1, 2]"] * 257
    with pytest.raises(Mistake, match="has 257 rows"):
        read(tmp_path, DOCUMENT.replace("[[1, 0.5], [.nan, -2]]", f"[{', '.join(rows)}]"))


def test_it_is_uploaded_beside_the_artifacts(tmp_path: Path) -> None:
    """And the version names it."""
    (tmp_path / "version.yaml").write_text(VERSION)
    (tmp_path / "m.onnx").write_bytes(linear(1, 4).content)
    (tmp_path / "golden.yaml").write_text("inputs: {x: [[1, 2, 3, 4]]}\noutputs: {y: [[10]]}\n")
    registry: Any = Registry()
    job = Registration(
        file=tmp_path / "version.yaml",
        report=None,
        artifacts=[("onnx", tmp_path / "m.onnx")],
        dry_run=False,
        reason="",
        timeout_s=5,
        golden=tmp_path / "golden.yaml",
    )
    register(registry, job, None)
    content = golden_set({"x": np.array([[1, 2, 3, 4]], np.float32)}, {"y": np.array([[10]], np.float32)})
    assert [linear(1, 4).content, content] == registry.uploaded
    [request] = registry.registered
    assert GoldenSet(sha256=hashlib.sha256(content).hexdigest()) == request.version.golden


def test_places_of_golden_sets() -> None:
    """What the registry says of one is said of the option that gave it."""
    text = "version.golden.inputs[0].floats[3]: 'x' is no FP32; version.golden: exists"
    assert "--golden: 'x' is no FP32; --golden: exists" == in_file(text, Path("v.yaml"))


def test_what_it_came_to_is_said_once_the_version_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    """By runtime; a version without one is as before."""
    version = Version(version="1.0.0", artifacts=[Artifact(runtime=name) for name in ("triton", "onnx")])
    ready = RuntimeState.RUNTIME_STATE_READY
    statuses = [
        RuntimeStatus(runtime="triton", state=ready, golden=GoldenState.GOLDEN_STATE_PASSED),
        RuntimeStatus(
            runtime="onnx", state=ready, golden=GoldenState.GOLDEN_STATE_FAILED, golden_message="output 'y', row 0: ..."
        ),
    ]
    print_registered(Registered("churn", pb.RegisterVersionResponse(version=version), statuses), dry_run=False)
    assert [
        "ready on triton after 0 ms, its golden set passes",
        "ready on onnx after 0 ms, but its golden set fails there: output 'y', row 0: ...",
    ] == capsys.readouterr().out.splitlines()[1:]


def test_where_golden_sets_stand_is_counted() -> None:
    """Runtimes in the version's order, with the number of processes; a version without one says nothing."""
    plain, given = Version(version="1.0.0"), Version(version="1.0.0", golden=GoldenSet(sha256="9" * 64))
    given.artifacts.extend([Artifact(runtime="triton"), Artifact(runtime="onnx")])
    model = Model(name="churn")
    passed, failed = GoldenState.GOLDEN_STATE_PASSED, GoldenState.GOLDEN_STATE_FAILED
    one: dict[str, Any] = {"model": "churn", "version": "1.0.0"}
    reports = [
        pb.InstanceReport(
            runtimes=[
                RuntimeStatus(**one, runtime="onnx", golden=passed),
                RuntimeStatus(**one, runtime="triton", golden=failed, golden_message="off"),
            ]
        ),
        pb.InstanceReport(runtimes=[RuntimeStatus(**one, runtime="onnx", golden=passed)]),
    ]
    assert ["triton failed on 1", "onnx passed on 2"] == golden_of(model, given, reports)
    assert [("triton", "off")] == messages_of(model, given, reports)
    assert ["not run"] == golden_of(model, given, [])
    assert [] == golden_of(model, plain, reports)
