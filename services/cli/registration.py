"""Registering a version: upload its artifacts, register it, wait until a model process serves it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from predictmesh.model.v1.runtime_pb2 import RuntimeState, RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Artifact
from predictmesh.registry.v1.registry_service_pb2 import (
    ArtifactHeader,
    ListRuntimesRequest,
    RegisterVersionRequest,
    RegisterVersionResponse,
    UploadArtifactRequest,
)
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.artifacts import check_artifacts
from services.cli.audit import actor
from services.cli.errors import Failure, Mistake
from services.cli.output import note
from services.cli.progress import Progress
from services.cli.resources.files import read_report_file, read_version_file

CHUNK_BYTES = 256 << 10
_POLL_S = 0.2


@dataclass(frozen=True)
class Registration:
    """What to register: the Version's file, what training says of it, and a file for each runtime."""

    file: Path
    report: Path | None
    artifacts: Sequence[tuple[str, Path]]
    dry_run: bool
    reason: str
    timeout_s: float


@dataclass(frozen=True)
class Registered:
    """What came of it: the registry's answer, and the processes that serve the version, if it was waited for them."""

    model: str
    response: RegisterVersionResponse
    ready: Sequence[RuntimeStatus]


_PATHS = re.compile(
    r"\bversion\.bindings(?P<input>\[\d+\])(?P<source>\.sources\[\d+\])?[a-z_.]*"
    r"|\b(?:version\.)?signature\.(?=inputs|outputs)|\bversion\.(?=version\b)"
)


def in_file(text: str, file: Path) -> str:
    """Return `text` with every path into the request replaced by the place in the Version's file that it came from."""

    def place(match: re.Match[str]) -> str:
        return f"{file}, " + (f"inputs{match['input']}{match['source'] or ''}" if match["input"] else "")

    return _PATHS.sub(place, text)


def register(registry: RegistryServiceStub, job: Registration, wait_s: float | None) -> Registered:
    """Upload and register. Failure if `wait_s` is given and no process serves the version within so many seconds."""
    model, version = read_version_file(job.file)
    if job.report is not None:
        read_report_file(job.report, version)
    # Every file is read before the first byte is sent.
    version.artifacts.extend(_describe(runtime, path) for runtime, path in job.artifacts)
    check_artifacts(model, version, job.artifacts)
    for artifact, (_, path) in zip(version.artifacts, job.artifacts, strict=True):
        _upload(registry, artifact, path, job.timeout_s)
    response = registry.RegisterVersion(
        RegisterVersionRequest(model=model, version=version, dry_run=job.dry_run, actor=actor(), reason=job.reason),
        timeout=job.timeout_s,
    )
    for warning in response.warnings:
        note(f"warning: {warning}")
    ready = _wait(registry, model, version.version, response.version.digest, wait_s) if wait_s else []
    return Registered(model, response, ready)


def _describe(runtime: str, path: Path) -> Artifact:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Artifact(runtime=runtime, sha256=digest, size_bytes=file.tell())
    except OSError as error:
        raise Mistake(f"cannot read the {runtime} artifact {path}: {error.strerror}") from error


def _upload(registry: RegistryServiceStub, artifact: Artifact, path: Path, timeout_s: float) -> None:
    with Progress(f"uploading {path.name}", artifact.size_bytes, "bytes") as progress:
        registry.UploadArtifact(_parts(artifact, path, progress), timeout=timeout_s)


def _parts(artifact: Artifact, path: Path, progress: Progress) -> Iterator[UploadArtifactRequest]:
    yield UploadArtifactRequest(header=ArtifactHeader(sha256=artifact.sha256, size_bytes=artifact.size_bytes))
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield UploadArtifactRequest(chunk=chunk)
            progress.advance(len(chunk))


def _wait(
    registry: RegistryServiceStub, model: str, version: str, digest: str, wait_s: float
) -> Sequence[RuntimeStatus]:
    """Return the reports of the processes that serve the version, as soon as there is one."""
    deadline = time.monotonic() + wait_s
    while True:
        reports = registry.ListRuntimes(ListRuntimesRequest(), timeout=wait_s).instances
        statuses = [
            status
            for report in reports
            for status in report.runtimes
            if (status.model, status.version) == (model, version) and status.digest in {"", digest}
        ]
        ready = [status for status in statuses if status.state == RuntimeState.RUNTIME_STATE_READY]
        if ready:
            return ready
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
    for status in done.ready:
        click.echo(f"ready on {status.runtime} after {status.load_time_us / 1e3:.0f} ms")
