"""What is laid out for a Triton and what it is told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from services.cli.triton.installation import Installation
from services.cli.triton.launch import TritonPorts, launch, prepare, repository, tidy

PORTS = TritonPorts(http=20_023, grpc=20_024, metrics=20_025)


def test_backends(installation: Installation, tmp_path: Path) -> None:
    """The Python backend is copied, its process is linked to where its libraries are, and ours builds on it."""
    prepare(installation, tmp_path, PORTS)
    backends = tmp_path / "backends"
    assert {"onnxruntime", "python"} == {path.name for path in backends.iterdir()}
    assert "libtriton_python.so" == (backends / "python" / "libtriton_python.so").read_text()
    assert not (backends / "python" / "libtriton_python.so").is_symlink()
    assert (backends / "python" / "triton_python_backend_stub").resolve().is_relative_to(installation.tree)
    assert ["model.py"] == [path.name for path in (backends / "onnxruntime").iterdir()]


def test_a_running_server_keeps_what_it_has_mapped(installation: Installation, tmp_path: Path) -> None:
    """A second preparation replaces files and never writes into one; models stay."""
    prepare(installation, tmp_path, PORTS)
    (repository(tmp_path) / "m").mkdir()
    with (tmp_path / "backends" / "python" / "libtriton_python.so").open() as mapped:
        (installation.tree / "backends" / "python" / "libtriton_python.so").write_text("newer")
        prepare(installation, tmp_path, PORTS)
        assert "libtriton_python.so" == mapped.read()
    assert "newer" == (tmp_path / "backends" / "python" / "libtriton_python.so").read_text()
    assert ["m"] == [path.name for path in repository(tmp_path).iterdir()]


def test_what_a_killed_server_has_left_is_tidied_up(tmp_path: Path) -> None:
    """It needs a repository to start, and does not free memory that it does not know; models stay, and others' memory."""
    repository(tmp_path).mkdir()
    (repository(tmp_path) / "m").mkdir()
    tidy(tmp_path, PORTS)
    assert ["m"] == [path.name for path in repository(tmp_path).iterdir()]
    shutil.rmtree(repository(tmp_path))
    ours, other = (Path("/dev/shm") / f"{prefix}{os.getpid()}" for prefix in (PORTS.shared_memory_prefix, "others_"))
    try:
        ours.touch()
        other.touch()
        tidy(tmp_path, PORTS)
        assert (True, False, True) == (repository(tmp_path).is_dir(), ours.exists(), other.exists())
    finally:
        other.unlink()


def test_command(installation: Installation, tmp_path: Path) -> None:
    """It listens on loopback only, loads by request, has shared memory of its own, and makes no spans unasked."""
    command = launch(installation, tmp_path, PORTS).command
    assert {
        f"--model-repository={tmp_path / 'repository'}",
        "--model-control-mode=explicit",
        f"--backend-directory={tmp_path / 'backends'}",
        "--backend-config=python,shm-region-prefix-name=predictmesh_20024_",
        *(f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")),
        "--http-port=20023",
        "--grpc-port=20024",
        "--metrics-port=20025",
    } <= set(command)
    assert not [argument for argument in command if argument.startswith("--trace-config")]


def test_spans(installation: Installation, tmp_path: Path) -> None:
    """They go where they should, of calls that bring a trace and of no other."""
    command = launch(installation, tmp_path, PORTS, otlp_url="http://collector:4318/v1/traces").command
    assert {
        "--trace-config=opentelemetry,url=http://collector:4318/v1/traces",
        "--trace-config=rate=0",
    } <= set(command)


def test_environment(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python processes find the environment of theirs, and nothing of ours."""
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    env = launch(installation, tmp_path, PORTS).env
    assert str(tmp_path / "environment" / "bin") == env["PATH"].split(os.pathsep)[0]
    assert "PYTHONPATH" not in env


def test_a_server_on_path_brings_its_own(tmp_path: Path) -> None:
    """Neither backends nor an environment are made for it, and it may use its GPU."""
    installation = Installation(Path("/opt/tritonserver/bin/tritonserver"), None)
    prepare(installation, tmp_path, PORTS)
    made = launch(installation, tmp_path, PORTS)
    assert ["repository"] == [path.name for path in tmp_path.iterdir()]
    assert not [argument for argument in made.command if "backend-directory" in argument or "gpu" in argument]
    assert dict(os.environ) == made.env
