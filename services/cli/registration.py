"""Registering a version: upload its artifacts, register it, wait until a model process serves it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import click

from predictmesh.model.v1.runtime_pb2 import RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Artifact, Version
from predictmesh.registry.v1.registry_service_pb2 import (
    ArtifactHeader,
    RegisterVersionRequest,
    RegisterVersionResponse,
    UploadArtifactRequest,
)
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.artifacts import OIP, check_artifacts, read_artifact
from services.cli.audit import actor
from services.cli.errors import Mistake
from services.cli.loading import Wait, await_loaded, standing
from services.cli.output import note
from services.cli.progress import Progress
from services.cli.resources.files import read_golden_file, read_report_file, read_version_file
from services.cli.resources.graph_places import in_graph

CHUNK_BYTES = 256 << 10


@dataclass(frozen=True)
class Registration:
    """What to register: the Version's file, what training says of it, and what runs it, first choice first.

    `golden` records inputs and outputs, which each of these must reproduce.
    `target` is a server that has the model, empty if there is none; it stands before the files for other runtimes.
    A composed version has none of the three.
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
    r"|\b(?:version\.)?signature\.(?=inputs|outputs)|\bversion\.(?=(?:version|metrics)\b)"
    r"|\bversion\.artifacts\[\d+\](?P<artifact>\.[a-z0-9_]+)"
    r"|\bversion\.(?P<golden>golden)[a-z0-9_.\[\]]*"
    r"|\bversion\.graph(?P<graph>(?:\.\w+(?:\[\d+\])?)*)"
)


def in_file(text: str, file: Path) -> str:
    """Return `text` with every path into the request replaced by the place in the Version's file, or the option.

    Parts of a graph have names in the file, which is read for them.
    """
    graph = cache(lambda: read_version_file(file)[1].graph)

    def place(match: re.Match[str]) -> str:
        if match["artifact"]:
            return "--target" if match["artifact"] == ".target" else "--artifact"
        if match["golden"]:
            return "--golden"
        if match["graph"] is not None:
            return f"{file}, {in_graph(graph(), match['graph'])}"
        return f"{file}, " + (f"inputs{match['input']}{match['source'] or ''}" if match["input"] else "")

    return _PATHS.sub(place, text)


def register(registry: RegistryServiceStub, job: Registration, wait_s: float | None) -> Registered:
    """Upload and register. Failure if `wait_s` is given and no process serves the version within so many seconds."""
    model, version = read_version_file(job.file)
    _check_runs(version, job)
    if job.report is not None:
        read_report_file(job.report, version)
    golden = read_golden_file(job.golden, version.signature) if job.golden else None
    if golden is not None:
        version.golden.CopyFrom(golden.message)
    # Every file is read before the first byte is sent.
    files = [(read_artifact(runtime, path), path) for runtime, path in job.artifacts]
    version.artifacts.extend([Artifact(runtime=OIP, target=job.target)] if job.target else [])
    version.artifacts.extend(artifact for artifact, _ in files)
    if files:
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
    statuses = await_loaded(registry, model, response.version, Wait(wait_s)) if wait_s else []
    return Registered(model, response, statuses)


def _check_runs(version: Version, job: Registration) -> None:
    """Whoever registers says what runs the version; the versions that a composed one is made of run by themselves."""
    if not version.HasField("graph"):
        if not (job.artifacts or job.target):
            why = f"give --artifact RUNTIME=FILE, or --runtime {OIP} --target HOST:PORT"
            raise Mistake(f"nothing runs the version: {why}")
    elif job.artifacts or job.target or job.golden:
        raise Mistake(
            f"{job.file} has a graph, whose versions run already: leave out --artifact, --runtime and --golden"
        )


def _upload(registry: RegistryServiceStub, artifact: Artifact, file: BinaryIO, name: str, timeout_s: float) -> None:
    with Progress(f"uploading {name}", artifact.size_bytes, "bytes") as progress:
        registry.UploadArtifact(_parts(artifact, file, progress), timeout=timeout_s)


def _parts(artifact: Artifact, file: BinaryIO, progress: Progress) -> Iterator[UploadArtifactRequest]:
    yield UploadArtifactRequest(header=ArtifactHeader(sha256=artifact.sha256, size_bytes=artifact.size_bytes))
    while chunk := file.read(CHUNK_BYTES):
        yield UploadArtifactRequest(chunk=chunk)
        progress.advance(len(chunk))


def print_registered(done: Registered, *, dry_run: bool) -> None:
    """Print what came of a registration."""
    response = done.response
    what = "can be registered" if dry_run else "was registered before" if response.existed else "registered"
    click.echo(
        f"{done.model} {response.version.version} {what}; "
        f"digest {response.version.digest[:12]}, revision {response.revision}"
    )
    for status in done.statuses:
        of_node = f"{status.model} {status.version} " if response.version.HasField("graph") else ""
        click.echo(of_node + standing(status))
    if done.statuses:
        known = {status.runtime for status in done.statuses}
        for artifact in response.version.artifacts:
            if artifact.runtime not in known:
                click.echo(f"not ready on {artifact.runtime}: no model process has it")
