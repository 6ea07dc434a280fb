"""Definitions of a registry in which many teams have released for a long time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from predictmesh.registry.v1 import registry_service_pb2 as pb
from services.registry import changes
from services.registry.catalog import Catalog
from services.registry.changes import Change, Event, ResourcesApplied, VersionRegistered
from services.registry.convert import encode
from services.registry.definitions import (
    Artifact,
    DataType,
    Endpoint,
    FeatureHistogram,
    FeatureView,
    InputBinding,
    Model,
    Route,
    SchemaVersion,
    Signature,
    TrainingProfile,
    Version,
)
from services.registry.versions import digest_of
from tests.support.definitions import CONTENT, SHA256, asked, entity, field, spec, stored, version

VERSIONS = 20
VIEWS, FIELDS = 4, 6
SOURCES = 20
# As the demo's profiles have them.
PROFILE_BINS = 20

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def endpoint_name(index: int) -> str:
    """Name of an endpoint, which is its model's, too."""
    return f"team-{index:04}/scores"


def routed(index: int, number: str) -> Endpoint:
    """An endpoint that leads to one version."""
    name = endpoint_name(index)
    return Endpoint(name=name, model=name, route=Route(version=number), description="What it is good for, in a line.")


def history(endpoints: int, versions: int = VERSIONS) -> Iterator[Change]:
    """Changes that amount to so many endpoints, each with a model of its own that has so many versions."""
    names = [endpoint_name(index) for index in range(endpoints)]
    numbers = [f"1.{minor}.0" for minor in range(versions)]
    yield ResourcesApplied(tuple(map(_view, range(VIEWS))), tuple(Model(name, "What it predicts.") for name in names))
    for name in names:
        for minor, number in enumerate(numbers):
            yield VersionRegistered(name, _version(number, minor))
    aliases = {"champion": numbers[0], "candidate": numbers[-1]}
    yield ResourcesApplied(
        models=tuple(Model(name, "What it predicts.", aliases) for name in names),
        endpoints=tuple(routed(index, numbers[0]) for index in range(endpoints)),
    )


def catalog(endpoints: int, versions: int = VERSIONS) -> Catalog:
    """What the history amounts to."""
    made = Catalog()
    for change in history(endpoints, versions):
        made = made.after(change)
    return made


def events(history: Iterable[Change]) -> list[pb.Event]:
    """The log of it, to be imported."""
    return [
        encode(Event(number, _NOW, "bench", "", *changes.encode(change)), pb.Event())
        for number, change in enumerate(history, start=1)
    ]


def profile() -> TrainingProfile:
    """A training profile as a version may have one."""
    edges, counts = tuple(map(float, range(PROFILE_BINS - 1))), (1000,) * PROFILE_BINS
    return TrainingProfile(tuple(FeatureHistogram(f"view_0:f{at}", edges, counts) for at in range(SOURCES)), 20_000)


def _view(index: int) -> FeatureView:
    fields = tuple(field(f"f{at}") for at in range(FIELDS))
    return FeatureView(
        name=f"view_{index}",
        entity=entity(f"entity_{index}", **{f"key_{index}": entity().keys[0].type}),
        fields=fields,
        schema_id=index + 1,
        schemas=(SchemaVersion(index + 1, FIELDS),),
    )


def _version(number: str, turn: int) -> Version:
    """A version of one input; no two of a model read the same sources in the same order."""
    places = [(f"f{at}", f"view_{index}") for at in range(FIELDS) for index in range(VIEWS)]
    turned = (places * 2)[turn : turn + SOURCES - 1]
    sources = (*(stored(name, view) for name, view in turned), asked("hour"))
    signature = Signature((spec(shape=(SOURCES,)),), (spec("y", DataType.FP32),))
    made = version(
        number,
        signature=signature,
        bindings=(InputBinding("x", sources),),
        artifacts=(Artifact("onnx", SHA256, len(CONTENT)),),
        create_time=_NOW,
    )
    return replace(made, digest=digest_of(made))
