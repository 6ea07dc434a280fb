"""Registering a version: upload its artifacts, register it, wait until a model process serves it."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from predictmesh.model.v1.runtime_pb2 import GoldenState, RuntimeState, RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Artifact
from predictmesh.registry.v1.registry_service_pb2 import (
    ArtifactHeader,
    ListRuntimesRequest,
    RegisterVersionRequest,
    RegisterVersionResponse,
    UploadArtifactRequest,
)
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.artifacts import OIP, check_artifacts, read_artifact
from services.cli.audit import actor
from services.cli.errors import Failure, Mistake
from services.cli.labels import words
from services.cli.output import note
from services.cli.progress import Progress
from services.cli.resources.files import read_golden_file, read_report_file, read_version_file

CHUNK_BYTES = 256 << 10
_POLL_S = 0.2


@dataclass(frozen=True)
class Registration:
    """What to register: the Version's file, what training says of it, and what runs it, first choice first.

    `golden` records inputs and outputs, which each of these must reproduce.
    `target` is a server that has the model, empty if there is none; it stands before the files for other runtimes.
    """

    file: Path
    report: Path | None
    artifacts: Sequence[tuple[str, Path]]
    dry_run: bool
    reason: str
    timeout_s: float
    target: str = ""
    golden: Path | None = None


@dataclass(frozen=True)
class Registered:
    """What came of it: the registry's answer, and where the version stands in each process, if it was waited for."""

    model: str
    response: RegisterVersionResponse
    statuses: Sequence[RuntimeStatus]


_PATHS = re.compile(
    r"\bversion\.bindings(?P<input>\[\d+\])(?P<source>\.sources\[\d+\])?[a-z_.]*"
    r"|\b(?:version\.)?signature\.(?=inputs|outputs)|\bversion\.(?=version\b)"
    r"|\bversion\.artifacts\[\d+\](?P<artifact>\.[a-z0-9_]+)"
    r"|\bversion\.(?P<golden>golden)[a-z0-9_.\[\]]*"
)


def in_file(text: str, file: Path) -> str:
    """Return `text` with every path into the request replaced by the place in the Version's file, or the option."""

    def place(match: re.Match[str]) -> str:
        if match["artifact"]:
            return "--target" if match["artifact"] == ".target" else "--artifact"
        if match["golden"]:
            return "--golden"
        return f"{file}, " + (f"inputs{match['input']}{match['source'] or ''}" if match["input"] else "")

    return _PATHS.sub(place, text)


def register(registry: RegistryServiceStub, job: Registration, wait_s: float | None) -> Registered:
    """Upload and register. Failure if `wait_s` is given and no process serves the version within so many seconds."""
    model, version = read_version_file(job.file)
    if job.report is not None:
        read_report_file(job.report, version)
    golden = read_golden_file(job.golden, version.signature) if job.golden else None
    if golden is not None:
        version.golden.CopyFrom(golden.message)
    # Every file is read before the first byte is sent.
    files = [(read_artifact(runtime, path), path) for runtime, path in job.artifacts]
    version.artifacts.extend([Artifact(runtime=OIP, target=job.target)] if job.target else [])
    version.artifacts.extend(artifact for artifact, _ in files)
    check_artifacts(model, version, files)
    for artifact, path in {artifact.sha256: (artifact, path) for artifact, path in files}.values():
        with path.open("rb") as file:
            _upload(registry, artifact, file, path.name, job.timeout_s)
    if golden is not None:
        described = Artifact(sha256=golden.message.sha256, size_bytes=len(golden.content))
        _upload(registry, described, io.BytesIO(golden.content), "the golden set", job.timeout_s)
    response = registry.RegisterVersion(
        RegisterVersionRequest(model=model, version=version, dry_run=job.dry_run, actor=actor(), reason=job.reason),
        timeout=job.timeout_s,
    )
    for warning in response.warnings:
        note(f"warning: {warning}")
    statuses = _wait(registry, model, version.version, response.version.digest, wait_s) if wait_s else []
    return Registered(model, response, statuses)


def _upload(registry: RegistryServiceStub, artifact: Artifact, file: BinaryIO, name: str, timeout_s: float) -> None:
    with Progress(f"uploading {name}", artifact.size_bytes, "bytes") as progress:
        registry.UploadArtifact(_parts(artifact, file, progress), timeout=timeout_s)


def _parts(artifact: Artifact, file: BinaryIO, progress: Progress) -> Iterator[UploadArtifactRequest]:
    yield UploadArtifactRequest(header=ArtifactHeader(sha256=artifact.sha256, size_bytes=artifact.size_bytes))
    while chunk := file.read(CHUNK_BYTES):
        yield UploadArtifactRequest(chunk=chunk)
        progress.advance(len(chunk))


def _wait(
    registry: RegistryServiceStub, model: str, version: str, digest: str, wait_s: float
) -> Sequence[RuntimeStatus]:
    """Return where the version stands in each process, as soon as one of them serves it."""
    deadline = time.monotonic() + wait_s
    while True:
        reports = registry.ListRuntimes(ListRuntimesRequest(), timeout=wait_s).instances
        statuses = [
            status
            for report in reports
            for status in report.runtimes
            if (status.model, status.version) == (model, version) and status.digest in {"", digest}
        ]
        if any(map(_is_ready, statuses)):
            return statuses
        failed = [status for status in statuses if status.state == RuntimeState.RUNTIME_STATE_FAILED]
        if failed and len(failed) == len(statuses):
            messages = "; ".join(f"{status.runtime}: {status.message}" for status in failed)
            raise Mistake(f"{model} {version} is registered, but could not be loaded: {messages}")
        if time.monotonic() > deadline:
            raise Failure(f"{model} {version} is registered, but no model process serves it after {wait_s:g} s")
        time.sleep(_POLL_S)


def print_registered(done: Registered, *, dry_run: bool) -> None:
    """Print what came of a registration."""
    response = done.response
    what = "can be registered" if dry_run else "was registered before" if response.existed else "registered"
    click.echo(
        f"{done.model} {response.version.version} {what}; "
        f"digest {response.version.digest[:12]}, revision {response.revision}"
    )
    for status in done.statuses:
        click.echo(_standing(status))
    if done.statuses:
        known = {status.runtime for status in done.statuses}
        for artifact in response.version.artifacts:
            if artifact.runtime not in known:
                click.echo(f"not ready on {artifact.runtime}: no model process has it")


def _is_ready(status: RuntimeStatus) -> bool:
    return status.state == RuntimeState.RUNTIME_STATE_READY


def _standing(status: RuntimeStatus) -> str:
    if _is_ready(status):
        return f"ready on {status.runtime} after {status.load_time_us / 1e3:.0f} ms" + _golden(status)
    state = words(RuntimeState.Name, "RUNTIME_STATE_", status.state)
    return f"not ready on {status.runtime}: {state}" + (f", {status.message}" if status.message else "")


def _golden(status: RuntimeStatus) -> str:
    if status.golden == GoldenState.GOLDEN_STATE_FAILED:
        return f", but its golden set fails there: {status.golden_message}"
    return ", its golden set passes" if status.golden == GoldenState.GOLDEN_STATE_PASSED else ""
