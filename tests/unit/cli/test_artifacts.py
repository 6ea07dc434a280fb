"""Artifacts of a version: what a file is taken for, what is uploaded, and what is said of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Artifact, Version
from services.cli.artifacts import artifact_text, read_artifact
from services.cli.errors import Mistake
from services.cli.registration import Registered, Registration, in_file, print_registered, register
from tests.support.commands import run
from tests.support.onnx_models import linear

VERSION = """\
kind: Version
model: churn
version: 1.0.0
inputs:
- {name: x, type: FP32, shape: [4], finite: true, sources: ["request:x"]}
outputs:
- {name: y, type: FP32, shape: [1]}
"""


@pytest.mark.parametrize(
    ("runtime", "name", "format_"),
    [
        ("onnx", "m.onnx", ""),
        ("triton", "m.onnx", ""),
        ("triton", "m.plan", "tensorrt_plan"),
        ("triton", "m.pt", "pytorch"),
        ("triton", "model.py", "python"),
        ("triton", "config.pbtxt", "ensemble"),
    ],
)
def test_format_by_suffix(tmp_path: Path, runtime: str, name: str, format_: str) -> None:
    """The suffix says what a file is; its digest and length are those of its bytes."""
    (tmp_path / name).write_bytes(b"bytes")
    expected = Artifact(runtime=runtime, sha256=hashlib.sha256(b"bytes").hexdigest(), size_bytes=5, format=format_)
    assert expected == read_artifact(runtime, tmp_path / name)


@pytest.mark.parametrize(
    ("runtime", "name", "message"),
    [
        ("onnx", "m.plan", r"onnx loads no \.plan like .*m\.plan, but \.onnx"),
        ("triton", "m.h5", r"triton loads no \.h5 like .*, but \.onnx, \.plan, \.pt, \.py, \.pbtxt"),
        ("onnx", "model", "onnx loads no file like"),
        ("tensorrt", "m.plan", "no runtime 'tensorrt' loads artifacts: there are triton and onnx"),
        ("oip", "m.onnx", "--runtime oip --target"),
        ("onnx", "absent.onnx", "No such file"),
    ],
)
def test_files_that_no_runtime_loads(tmp_path: Path, runtime: str, name: str, message: str) -> None:
    """The message says what would do."""
    with pytest.raises(Mistake, match=message):
        read_artifact(runtime, tmp_path / name)


@pytest.mark.parametrize(
    ("artifact", "text"),
    [
        (Artifact(runtime="onnx", size_bytes=1025), "onnx 2 KiB"),
        (Artifact(runtime="triton", size_bytes=1), "triton onnx 1 KiB"),
        (Artifact(runtime="triton", size_bytes=1, format="tensorrt_plan"), "triton tensorrt_plan 1 KiB"),
        (Artifact(runtime="oip", target="models.example:8001/ranker/3"), "oip models.example:8001/ranker/3"),
    ],
)
def test_artifact_in_words(artifact: Artifact, text: str) -> None:
    """Runtime, what it loads, and how much of it; or the server."""
    assert text == artifact_text(artifact)


class Registry:
    """Takes everything; keeps what it was sent."""

    def __init__(self) -> None:
        self.uploaded: list[bytes] = []
        self.registered: list[pb.RegisterVersionRequest] = []

    def UploadArtifact(self, parts: Iterator[pb.UploadArtifactRequest], timeout: float) -> None:
        assert timeout > 0
        self.uploaded.append(b"".join(part.chunk for part in parts))

    def RegisterVersion(self, request: pb.RegisterVersionRequest, timeout: float) -> pb.RegisterVersionResponse:
        assert timeout > 0
        self.registered.append(request)
        return pb.RegisterVersionResponse(version=request.version)


def registered(directory: Path, target: str, *artifacts: tuple[str, Path]) -> Registry:
    """Register a version."""
    (directory / "version.yaml").write_text(VERSION)
    registry: Any = Registry()
    file = directory / "version.yaml"
    register(registry, Registration(file, None, artifacts, dry_run=False, reason="", timeout_s=5, target=target), None)
    made: Registry = registry
    return made


def test_one_file_for_two_runtimes(tmp_path: Path) -> None:
    """It is uploaded once."""
    file = tmp_path / "m.onnx"
    file.write_bytes(linear(1, 4).content)
    registry = registered(tmp_path, "", ("triton", file), ("onnx", file))
    assert [file.read_bytes()] == registry.uploaded
    assert ["triton", "onnx"] == [each.runtime for each in registry.registered[0].version.artifacts]
    assert 1 == len({each.sha256 for each in registry.registered[0].version.artifacts})


def test_server_before_files(tmp_path: Path) -> None:
    """A server elsewhere is the first choice; what is uploaded stands behind it."""
    file = tmp_path / "m.onnx"
    file.write_bytes(linear(1, 4).content)
    registry = registered(tmp_path, "models.example:8001", ("onnx", file))
    first, second = registry.registered[0].version.artifacts
    assert Artifact(runtime="oip", target="models.example:8001") == first
    assert ("onnx", 1) == (second.runtime, len(registry.uploaded))


def test_server_alone(tmp_path: Path) -> None:
    """Nothing is uploaded."""
    assert [] == registered(tmp_path, "models.example:8001").uploaded


@pytest.mark.parametrize("runtime", ["triton", "onnx"])
def test_files_are_tried_first(tmp_path: Path, runtime: str) -> None:
    """An ONNX file that is none, or of another signature, is refused before anything is sent, whoever would load it."""
    (tmp_path / "nonsense.onnx").write_text("nonsense")
    (tmp_path / "other.onnx").write_bytes(linear(1, 5).content)
    for name, reason in (("nonsense", "INVALID_ARTIFACT"), ("other", "SIGNATURE_MISMATCH")):
        with pytest.raises(Mistake, match=reason):
            registered(tmp_path, "", (runtime, tmp_path / f"{name}.onnx"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--runtime", "oip"), "--runtime oip and --target go together"),
        (("--target", "models.example:8001"), "--runtime oip and --target go together"),
        (("--runtime", "triton", "--target", "models.example:8001"), "--runtime"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], message: str) -> None:
    """An option that cannot act is a mistake."""
    outcome = run("models", "register", "-f", "version.yaml", *options)
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert message in outcome.err


def test_nothing_that_runs_it(tmp_path: Path) -> None:
    """A version needs an artifact or a server, unless it is composed of others."""
    (tmp_path / "version.yaml").write_text(VERSION)
    outcome = run("models", "register", "-f", str(tmp_path / "version.yaml"))
    assert (2, "", 1) == (outcome.code, outcome.out, outcome.err.count("\n"))
    assert "nothing runs the version: give --artifact RUNTIME=FILE" in outcome.err


def test_places_of_artifacts() -> None:
    """What the registry says of an artifact is said of the option that gave it."""
    text = "version.artifacts[0].target: 'x' is no target; version.artifacts[1].runtime: 'onnx' is there twice"
    assert "--target: 'x' is no target; --artifact: 'onnx' is there twice" == in_file(text, Path("v.yaml"))


def test_where_it_is_ready_and_where_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever waited for one runtime hears of the others."""
    version = Version(version="1.0.0", artifacts=[Artifact(runtime=name) for name in ("triton", "oip", "onnx")])
    ready, failed = RuntimeState.RUNTIME_STATE_READY, RuntimeState.RUNTIME_STATE_FAILED
    statuses = [
        RuntimeStatus(runtime="onnx", state=ready, load_time_us=7_000),
        RuntimeStatus(runtime="oip", state=failed, message="nobody there"),
    ]
    print_registered(Registered("churn", pb.RegisterVersionResponse(version=version), statuses), dry_run=False)
    assert [
        "ready on onnx after 7 ms",
        "not ready on oip: failed, nobody there",
        "not ready on triton: no model process has it",
    ] == capsys.readouterr().out.splitlines()[1:]
