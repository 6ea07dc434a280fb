"""protos/generate.py, run as a command on a copy of the protos."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = Path(__file__).parents[3] / "protos"
REASON = "predictmesh/types/v1/error_reason"


@pytest.fixture
def protos(tmp_path: Path) -> Path:
    """A copy of the protos folder, to change at will."""
    return Path(shutil.copytree(PROTOS, tmp_path / "protos", ignore=shutil.ignore_patterns("__pycache__")))


def generate(protos: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the copy of generate.py."""
    command = [sys.executable, str(protos / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_generating_twice_changes_nothing(protos: Path) -> None:
    """The stubs depend on the protos alone, so a second run finds nothing to write."""
    generate(protos)

    again = generate(protos, "--check")

    assert (0, "") == (again.returncode, again.stdout), again.stderr


def test_check_names_the_stubs_of_a_changed_proto(protos: Path) -> None:
    """A proto edited without its stubs fails the check by name and changes no file."""
    generate(protos)
    stub = (protos / f"{REASON}_pb2.py").read_bytes()
    with (protos / f"{REASON}.proto").open("a") as proto:
        proto.write("// Nothing.\nmessage Nothing {}\n")

    check = generate(protos, "--check")

    assert 1 == check.returncode, check.stderr
    named = {line.partition(":")[0] for line in check.stdout.splitlines()}
    assert {f"protos/{REASON}_pb2.py", f"protos/{REASON}_pb2.pyi"} == named
    assert stub == (protos / f"{REASON}_pb2.py").read_bytes()


def test_stubs_without_a_proto_are_removed(protos: Path) -> None:
    """Stubs whose proto is gone are left over: the check names them, and generating deletes them."""
    left_over = protos / "predictmesh/types/v1/gone_pb2.py"
    left_over.write_text("")

    check = generate(protos, "--check")
    generate(protos)

    assert 1 == check.returncode, check.stderr
    assert left_over.name in check.stdout
    assert not left_over.exists()


def test_a_broken_proto_changes_no_stub(protos: Path) -> None:
    """When protoc fails, the command fails and the old stubs stay."""
    stub = (protos / f"{REASON}_pb2.py").read_bytes()
    (protos / f"{REASON}.proto").write_text("message {")

    broken = generate(protos)

    assert 0 != broken.returncode
    assert f"{REASON}.proto" in broken.stderr
    assert stub == (protos / f"{REASON}_pb2.py").read_bytes()


def test_google_protos_are_copied_for_buf(protos: Path, tmp_path: Path) -> None:
    """The copy holds what our protos import, laid out by proto path."""
    generate(protos, "--googleapis", str(tmp_path / "google"))

    assert (tmp_path / "google/google/api/annotations.proto").is_file()
    assert (tmp_path / "google/google/rpc/status.proto").is_file()
