"""What it takes to add a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from services.registry.binding import check_binding
from services.registry.catalog import Catalog
from services.registry.changes import VersionRegistered
from services.registry.definitions import Model, Version
from services.registry.errors import UnknownArtifact, UnknownModel, VersionExists
from services.registry.faults import Faults
from services.registry.graphs import compose, node_versions
from services.registry.names import is_sha256
from services.registry.runtimes import canonical, check_known
from services.registry.versions import check_content, digest_of, warnings_of

PATH = "version"


@dataclass(frozen=True, slots=True)
class Registration:
    """The version as registered; no `event` where it was there before."""

    version: Version
    warnings: tuple[str, ...]
    event: VersionRegistered | None


def plan_registration(
    catalog: Catalog,
    model_name: str,
    version: Version,
    sizes: Mapping[str, int],
    now: datetime,
    golden: Faults | None = None,
) -> Registration:
    """Check a version of a model and complete it; `sizes` holds its uploads in bytes, by SHA-256.

    `golden` holds the faults of its golden set, which are found by reading that upload.
    """
    model = catalog.models.get(model_name)
    if model is None:
        raise UnknownModel(f"there is no model {model_name!r}", field="model", model=model_name)
    version = canonical(version)
    faults = Faults()
    if version.graph:
        version = compose(version, catalog.models, catalog.views, PATH, faults)
    check_content(version, PATH, faults)
    check_known(version.artifacts, f"{PATH}.artifacts", faults)
    if version.graph is None:
        check_binding(version, catalog.views, PATH, faults)
    _check_uploaded(version, sizes, faults)
    faults.extend(golden or Faults())
    faults.check()
    nodes = {name: member.digest for name, _, member in node_versions(version, catalog.models)}
    completed = replace(_completed(version, sizes, now), digest=digest_of(version, nodes))
    present = model.find(version.version)
    if present is None:
        return Registration(completed, tuple(warnings_of(completed)), VersionRegistered(model_name, completed))
    _check_same(model, present, completed)
    return Registration(present, tuple(warnings_of(present)), None)


def _check_uploaded(version: Version, sizes: Mapping[str, int], faults: Faults) -> None:
    for index, artifact in enumerate(version.artifacts):
        if artifact.sha256 and artifact.sha256 not in sizes:
            at = f"{PATH}.artifacts[{index}].sha256"
            faults.add(UnknownArtifact, at, f"{artifact.sha256[:64]!r} has not been uploaded")
    if version.golden and is_sha256(version.golden.sha256) and version.golden.sha256 not in sizes:
        faults.add(UnknownArtifact, f"{PATH}.golden.sha256", f"{version.golden.sha256!r} has not been uploaded")


def _completed(version: Version, sizes: Mapping[str, int], now: datetime) -> Version:
    artifacts = tuple(replace(artifact, size_bytes=sizes.get(artifact.sha256, 0)) for artifact in version.artifacts)
    golden = replace(version.golden, size_bytes=sizes[version.golden.sha256]) if version.golden else None
    return replace(version, artifacts=artifacts, golden=golden, create_time=now)


def _check_same(model: Model, present: Version, given: Version) -> None:
    """A version is immutable in all of its content, also in what its digest leaves out: how good it was found to be."""
    differing = [
        name
        for name in ("signature", "bindings", "artifacts", "metrics", "training_profile", "golden", "graph")
        if getattr(present, name) != getattr(given, name)
    ]
    if differing:
        raise VersionExists(
            f"{model.name}@{present.version} exists with other {' and '.join(differing)}; register a new version",
            field=f"{PATH}.{differing[0]}",
            model=model.name,
            version=present.version,
            digest=present.digest,
        )
