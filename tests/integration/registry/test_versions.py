"""Registering and deleting versions, and what their bindings must be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from predictmesh.registry.v1 import registry_service_pb2 as pb
from predictmesh.registry.v1.model_pb2 import Version as VersionMessage
from services.mesh.errors import Code, MeshError, Reason
from services.registry.definitions import (
    Artifact,
    DataType,
    FeatureHistogram,
    InputBinding,
    KeyType,
    Route,
    Signature,
    Source,
    TensorSpec,
    TrainingProfile,
    Version,
)
from tests.support.definitions import (
    SHA256,
    age,
    asked,
    column,
    endpoint,
    entity,
    field,
    model,
    spec,
    stored,
    version,
    view,
)
from tests.support.registry import Client


async def test_a_version_comes_back_complete(full: Client) -> None:
    """The registry adds digest, time and the artifact's length."""
    response = await full.register(version("1.1.0"), reason="better")
    assert (response.revision, response.existed, list(response.warnings)) == (4, False, [])
    given = response.version
    assert len(given.digest) == 64
    assert given.artifacts[0].size_bytes == 20
    assert given.HasField("create_time")
    assert (await full.snapshot()).models[0].versions[1] == given
    event = (await full.events())[-1]
    assert (event.type, event.reason) == ("version_registered", "better")


async def test_the_same_version_again_is_answered_as_before(full: Client) -> None:
    """Registering is safe to repeat, whatever the caller says of time and digest."""
    again = await full.register()
    assert (again.existed, again.revision) == (True, 3)
    assert again.version == (await full.snapshot()).models[0].versions[0]
    assert len(await full.events()) == 3


async def get_version(client: Client, model: str, number: str) -> VersionMessage:
    """A version by its name."""
    asked = pb.GetVersionRequest(name=pb.VersionName(model=model, version=number))
    found: VersionMessage = (await client.stub.GetVersion(asked)).version
    return found


async def test_a_training_profile_is_kept_but_not_sent_to_readers(full: Client) -> None:
    """It is in the answer of GetVersion and in the log, so in a backup; snapshots are without."""
    registered = (await full.register(profiled())).version
    assert registered.training_profile.rows == 6
    assert await get_version(full, "churn", "2.0.0") == registered
    assert '"training_profile"' in (await full.events())[-1].payload
    served = (await full.snapshot()).models[0].versions[1]
    assert not served.HasField("training_profile")
    registered.ClearField("training_profile")
    assert served == registered


@pytest.mark.parametrize(
    ("name", "reason", "path"),
    [
        (("other", "1.0.0"), Reason.UNKNOWN_MODEL, "name.model"),
        (("churn", "9.9.9"), Reason.UNKNOWN_VERSION, "name.version"),
        (("churn", "champion"), Reason.UNKNOWN_VERSION, "name.version"),
        (("", ""), Reason.UNKNOWN_MODEL, "name.model"),
    ],
)
async def test_a_version_that_is_not_there(full: Client, name: tuple[str, str], reason: Reason, path: str) -> None:
    """The error says which part of the name leads nowhere."""
    with pytest.raises(MeshError) as caught:
        await get_version(full, *name)
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, reason)
    assert [each.field for each in caught.value.violations] == [path]


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"metrics": {"auc": 0.9}}, "version.metrics"),
        ({"signature": Signature((spec(shape=(4,)),), (spec("z"),))}, "version.signature"),
        ({"artifacts": (Artifact("onnx", SHA256), Artifact("triton", SHA256))}, "version.artifacts"),
    ],
)
async def test_a_version_is_immutable(full: Client, parts: dict[str, Any], path: str) -> None:
    """Other content under the same number is refused."""
    before = await full.snapshot()
    with pytest.raises(MeshError) as caught:
        await full.register(version(**parts))
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, Reason.ALREADY_EXISTS)
    assert caught.value.violations[0].field == path
    assert await full.snapshot() == before


async def test_the_digest_is_of_what_is_computed(full: Client) -> None:
    """Metrics do not change the digest; bindings do."""
    first = (await full.snapshot()).models[0].versions[0].digest
    same = (await full.register(version("1.0.1", metrics={}), dry_run=True)).version.digest
    swapped = InputBinding("x", (stored("rating"), stored("trips"), age(), asked("hour")))
    other = (await full.register(version("1.0.2", bindings=(swapped,)), dry_run=True)).version.digest
    assert first == same
    assert first != other


PLAN = Artifact("triton", SHA256, format="tensorrt_plan")
SERVER = Artifact("oip", target="models.example:8001/ranker/3")
LOCAL = Artifact("onnx", SHA256)


@pytest.mark.parametrize(
    ("artifacts", "warning"),
    [
        ((PLAN,), "no CPU fallback when triton cannot answer"),
        ((SERVER,), "no CPU fallback when oip cannot answer"),
        ((LOCAL, PLAN), "triton computes only when it cannot"),
        ((PLAN, LOCAL), ""),
        ((SERVER, LOCAL), ""),
    ],
)
async def test_runtimes_that_are_odd_together(full: Client, artifacts: tuple[Artifact, ...], warning: str) -> None:
    """A version without a fallback, or whose fallback stands first, is allowed, and its author should know."""
    said = list((await full.register(version("1.1.0", artifacts=artifacts))).warnings)
    assert bool(warning) == len(said)
    assert warning in "".join(said)


async def test_artifacts_come_back_as_given(full: Client) -> None:
    """Formats, targets and their order; what has no bytes has no size."""
    given = (SERVER, replace(PLAN, size_bytes=7), LOCAL)
    registered = (await full.register(version("1.1.0", artifacts=given))).version
    assert [("oip", "", 0), ("triton", SHA256, 20), ("onnx", SHA256, 20)] == [
        (each.runtime, each.sha256, each.size_bytes) for each in registered.artifacts
    ]
    assert [("", SERVER.target), ("tensorrt_plan", ""), ("", "")] == [
        (each.format, each.target) for each in registered.artifacts
    ]
    assert registered == (await full.snapshot()).models[0].versions[1]


async def test_format_that_goes_without_saying(full: Client) -> None:
    """Whoever says that ONNX Runtime loads ONNX means what was registered without; digests stay as they were."""
    again = await full.register(version(artifacts=(replace(LOCAL, format="onnx"),)))
    assert again.existed
    assert "" == again.version.artifacts[0].format


async def test_digests_tell_formats_and_targets_apart(full: Client) -> None:
    """Two versions that compute otherwise have two digests."""
    given = [
        (PLAN,),
        (replace(PLAN, format=""),),
        (replace(PLAN, format="python"),),
        (SERVER,),
        (replace(SERVER, target="models.example:8001/ranker/4"),),
        (LOCAL,),
    ]
    answers = [await full.register(version("1.1.0", artifacts=artifacts), dry_run=True) for artifacts in given]
    assert len(given) == len({answer.version.digest for answer in answers})
    assert (await full.snapshot()).models[0].versions[0].digest == answers[-1].version.digest


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(
    "target",
    ["localhost:1", "10.0.0.7:65535/m", "a-b.c_d.example:8001/models--x/1", "[::1]:9000", "[fe80::1]:9000/m/v2"],
)
async def test_targets(full: Client, target: str) -> None:
    """HOST:PORT, then the names of model and version, if they are others than here."""
    await full.register(version("1.1.0", artifacts=(Artifact("oip", target=target),)))


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(
    "target",
    [
        "", "models", "models:", ":9000", "models:0", "models:65536", "models:port", "http://models:80", "a b:9000",
        "models:9000/", "models:9000//1", "models:9000/m/", "models:9000/m/1/infer", "models:9000/m n", "-m:9000",
        "[::1:9000", "[models]:9000", "::1:9000", f"{'m' * 64}:9000", "models:9000/m\n",
    ],
)  # fmt: skip
async def test_bad_targets(full: Client, target: str) -> None:
    """What could not be called is refused, not tried for ever."""
    with pytest.raises(MeshError, match="HOST:PORT") as caught:
        await full.register(version("1.1.0", artifacts=(Artifact("oip", target=target),)))
    assert ["version.artifacts[0].target"] == [each.field for each in caught.value.violations]


async def test_a_dry_run_registers_nothing(full: Client) -> None:
    """It answers what would be."""
    response = await full.register(version("1.1.0"), dry_run=True)
    assert (response.revision, response.existed) == (3, False)
    assert len((await full.snapshot()).models[0].versions) == 1


async def test_lists_bytes_and_whole_numbers_can_be_bound(full: Client) -> None:
    """A list counts as its length, and each input has its own type."""
    await full.apply(
        view(
            "wide",
            fields=(field("embedding", length=8), field("count", DataType.INT64), field("city", DataType.BYTES)),
        )
    )
    inputs = (spec("e", shape=(2, 5)), spec("n", DataType.INT64), spec("c", DataType.BYTES, shape=(1,)))
    bindings = (
        InputBinding("c", (stored("city", "wide"),)),
        InputBinding("e", (age("wide"), stored("embedding", "wide"), asked("hour"))),
        InputBinding("n", (stored("count", "wide"),)),
    )
    await full.register(version("2.0.0", signature=Signature(inputs, (spec("y"),)), bindings=bindings))


async def test_a_version_may_use_nothing_that_is_stored(full: Client) -> None:
    """A model of request-time values alone needs no views."""
    await full.register(version("2.0.0", bindings=(InputBinding("x", tuple(map(asked, "abcd"))),)))


async def test_a_request_time_value_may_fill_an_input(full: Client) -> None:
    """An input whose only source is a request-time value takes all of it: a list, with as many values a row."""
    await full.register(bound(asked("embedding"), width=3))
    await full.apply(model(champion="2.0.0"), endpoint())
    await full.apply(endpoint(sample_features=(column("embedding", floats=(1.0, 2.0, 3.0) * 2),)))
    with pytest.raises(MeshError) as caught:
        await full.apply(endpoint(sample_features=(column("embedding", floats=(1.0, 2.0)),)))
    assert caught.value.violations[0].field == "resources[0].endpoint.sample_features[0]"


def bound(*sources: Source, width: int = 1, data_type: DataType = DataType.FP32) -> Version:
    """A version whose one input has these sources."""
    signature = Signature((spec("x", data_type, shape=(width,)),), (spec("y"),))
    return version("2.0.0", signature=signature, bindings=(InputBinding("x", sources),))


def signed(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (spec("y"),)) -> Version:
    """A version with these inputs, each of a request-time value of its own."""
    bindings = tuple(InputBinding(each.name, (asked(f"r{index}"),)) for index, each in enumerate(inputs))
    return version("2.0.0", signature=Signature(inputs, outputs), bindings=bindings)


def profiled(**parts: Any) -> Version:
    """A version with a training profile of one histogram."""
    histogram = {"name": "trips", "edges": (0.0, 1.0), "counts": (1, 2, 3)} | parts
    return version("2.0.0", training_profile=TrainingProfile((FeatureHistogram(**histogram),), 6))


BINDING, DEFINITION = Reason.INVALID_BINDING, Reason.INVALID_DEFINITION
BAD: dict[str, tuple[Version, Reason, str]] = {
    "no number": (version(""), Reason.INVALID_NAME, "version"),
    "two numbers": (version("1.0"), Reason.INVALID_NAME, "version"),
    "a leading zero": (version("1.00.0"), Reason.INVALID_NAME, "version"),
    "a pre-release": (version("1.0.0-rc1"), Reason.INVALID_NAME, "version"),
    "no inputs": (signed(), DEFINITION, "signature.inputs"),
    "no outputs": (signed(spec(), outputs=()), DEFINITION, "signature.outputs"),
    "an output twice": (signed(spec(), outputs=(spec("y"), spec("y"))), DEFINITION, "signature.outputs[1].name"),
    "an input without a name": (signed(spec("")), Reason.INVALID_NAME, "signature.inputs[0].name"),
    "an output without a type": (
        signed(spec(), outputs=(spec("y", DataType.UNSPECIFIED),)),
        DEFINITION,
        "signature.outputs[0].data_type",
    ),
    "a shape with a hole": (
        signed(spec(), outputs=(spec("y", shape=(2, 0)),)),
        DEFINITION,
        "signature.outputs[0].shape",
    ),
    "a shape without a size": (
        signed(spec(), outputs=(spec("y", shape=(-1,)),)),
        DEFINITION,
        "signature.outputs[0].shape",
    ),
    "an enormous shape": (
        signed(spec(), outputs=(spec("y", shape=(2**40, 2**40)),)),
        DEFINITION,
        "signature.outputs[0].shape",
    ),
    "finite whole numbers": (
        signed(spec("n", DataType.INT64, finite=True)),
        DEFINITION,
        "signature.inputs[0].finite",
    ),
    "no artifact": (version("2.0.0", artifacts=()), DEFINITION, "artifacts"),
    "a runtime twice": (
        version("2.0.0", artifacts=(Artifact("onnx", SHA256), Artifact("onnx", SHA256))),
        DEFINITION,
        "artifacts[1].runtime",
    ),
    "a runtime without a name": (
        version("2.0.0", artifacts=(Artifact("", SHA256),)),
        Reason.INVALID_NAME,
        "artifacts[0].runtime",
    ),
    "a runtime that nobody has": (
        version("2.0.0", artifacts=(Artifact("tensorrt", SHA256),)),
        DEFINITION,
        "artifacts[0].runtime",
    ),
    "an artifact without bytes": (version("2.0.0", artifacts=(Artifact("triton"),)), DEFINITION, "artifacts[0].sha256"),
    "a format of another runtime": (
        version("2.0.0", artifacts=(Artifact("onnx", SHA256, format="tensorrt_plan"),)),
        DEFINITION,
        "artifacts[0].format",
    ),
    "an unknown format": (
        version("2.0.0", artifacts=(Artifact("triton", SHA256, format="tflite"),)),
        DEFINITION,
        "artifacts[0].format",
    ),
    "a target of what has bytes": (
        version("2.0.0", artifacts=(Artifact("triton", SHA256, target="models.example:8001"),)),
        DEFINITION,
        "artifacts[0].target",
    ),
    "bytes for a server elsewhere": (
        version("2.0.0", artifacts=(replace(SERVER, sha256=SHA256),)),
        DEFINITION,
        "artifacts[0].sha256",
    ),
    "a format for a server elsewhere": (
        version("2.0.0", artifacts=(replace(SERVER, format="onnx", sha256=""),)),
        DEFINITION,
        "artifacts[0].format",
    ),
    "an artifact nobody uploaded": (
        version("2.0.0", artifacts=(Artifact("onnx", "0" * 64),)),
        Reason.UNKNOWN_ARTIFACT,
        "artifacts[0].sha256",
    ),
    "a metric that is no number": (version("2.0.0", metrics={"auc": math.nan}), DEFINITION, "metrics.auc"),
    "a profile of no rows": (
        version("2.0.0", training_profile=TrainingProfile((), 0)),
        DEFINITION,
        "training_profile.rows",
    ),
    "edges that fall": (profiled(edges=(1.0, 0.0)), DEFINITION, "training_profile.features[0].edges"),
    "an endless edge": (profiled(edges=(0.0, math.inf)), DEFINITION, "training_profile.features[0].edges"),
    "too few bins": (profiled(counts=(1, 2)), DEFINITION, "training_profile.features[0].counts"),
    "more nulls than rows": (profiled(null_fraction=1.5), DEFINITION, "training_profile.features[0].null_fraction"),
    "an input not bound": (version("2.0.0", bindings=()), BINDING, "bindings"),
    "an unknown input": (
        version("2.0.0", bindings=(*version().bindings, InputBinding("z", (age(),)))),
        BINDING,
        "bindings[1].input",
    ),
    "an input bound twice": (version("2.0.0", bindings=version().bindings * 2), BINDING, "bindings[1].input"),
    "no source": (bound(), BINDING, "bindings[0].sources"),
    "an empty source": (bound(Source()), BINDING, "bindings[0].sources[0]"),
    "an unknown view": (bound(stored("trips", "nobody")), BINDING, "bindings[0].sources[0].field.view"),
    "the age of an unknown view": (bound(age("nobody")), BINDING, "bindings[0].sources[0].age_of_view"),
    "an unknown field": (bound(stored("nothing")), BINDING, "bindings[0].sources[0].field.field"),
    "a field of another type": (bound(stored("trips"), data_type=DataType.FP64), BINDING, "bindings[0].sources[0]"),
    "an age that is not FP32": (bound(age(), data_type=DataType.INT64), BINDING, "bindings[0].sources[0]"),
    "too few elements": (bound(stored("trips"), age(), width=3), BINDING, "bindings[0].sources"),
    "too many elements": (bound(stored("trips"), age()), BINDING, "bindings[0].sources"),
    "an odd request name": (bound(asked("a b")), Reason.INVALID_NAME, "bindings[0].sources[0].request"),
}


@pytest.mark.parametrize("empty", ["inprocess"], indirect=True)
@pytest.mark.parametrize(("given", "reason", "path"), BAD.values(), ids=BAD.keys())
async def test_a_bad_version_is_refused(full: Client, given: Version, reason: Reason, path: str) -> None:
    """The caller gets the reason and the field; the registry stays as it was."""
    before, events = await full.snapshot(), await full.events()
    with pytest.raises(MeshError) as caught:
        await full.register(given)
    assert (caught.value.reason, [each.field for each in caught.value.violations]) == (reason, [f"version.{path}"])
    assert await full.snapshot() == before
    assert await full.events() == events


async def test_a_request_time_value_has_one_type(full: Client) -> None:
    """The caller sends one value, so every input must take it as the same."""
    signature = Signature((spec("a"), spec("b", DataType.INT64)), (spec("y"),))
    bindings = (InputBinding("a", (asked("hour"),)), InputBinding("b", (asked("hour"),)))
    with pytest.raises(MeshError) as caught:
        await full.register(version("2.0.0", signature=signature, bindings=bindings))
    assert (caught.value.reason, caught.value.violations[0].field) == (
        BINDING,
        "version.bindings[1].sources[0].request",
    )


async def test_a_request_time_value_has_one_length(full: Client) -> None:
    """A list for one input is not one element of another."""
    signature = Signature((spec("a", shape=(2,)), spec("b")), (spec("y"),))
    bindings = (InputBinding("a", (asked("hour"),)), InputBinding("b", (asked("hour"),)))
    with pytest.raises(MeshError) as caught:
        await full.register(version("2.0.0", signature=signature, bindings=bindings))
    assert caught.value.violations[0].field == "version.bindings[1].sources[0].request"


async def test_a_key_column_has_one_type(full: Client) -> None:
    """Views share a column by its name; a request has one column of it."""
    await full.apply(view("numbered", entity=entity("seat", rider_id=KeyType.INT64)))
    with pytest.raises(MeshError) as caught:
        await full.register(bound(stored("trips"), stored("trips", "numbered"), width=2))
    assert caught.value.reason == BINDING
    assert caught.value.violations[0].field == "version.bindings[0].sources[1].field.view"


async def test_a_version_needs_its_model(full: Client) -> None:
    """A model is defined before its versions."""
    with pytest.raises(MeshError) as caught:
        await full.register(model="nobody")
    assert (caught.value.code, caught.value.reason) == (Code.NOT_FOUND, Reason.UNKNOWN_MODEL)
    assert caught.value.violations[0].field == "model"


async def test_the_callers_message_stays_as_it_was(full: Client) -> None:
    """In one process the message is the caller's own object."""
    given = VersionMessage(version="1.0.0", digest="mine")
    request = pb.RegisterVersionRequest(model="churn", version=given)
    with pytest.raises(MeshError):
        await full.stub.RegisterVersion(request)
    assert request.version == given


IN_USE = [
    (pb.DeleteRequest(feature_view="rider_stats"), "feature_view", "churn@1.0.0"),
    (pb.DeleteRequest(model="churn"), "model", "endpoint churn"),
    (pb.DeleteRequest(version=pb.VersionName(model="churn", version="1.0.0")), "version", "alias champion"),
]


@pytest.mark.parametrize(("request_", "path", "user"), IN_USE)
async def test_what_is_named_elsewhere_stays(full: Client, request_: pb.DeleteRequest, path: str, user: str) -> None:
    """Deleting it would break what names it, and the caller is told what that is."""
    before = await full.snapshot()
    with pytest.raises(MeshError) as caught:
        await full.stub.Delete(request_)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.IN_USE)
    assert caught.value.violations[0].field == path
    assert user in caught.value.message
    assert await full.snapshot() == before


UNKNOWN = [
    (pb.DeleteRequest(), Reason.MISSING_FIELD, "target"),
    (pb.DeleteRequest(feature_view="x"), Reason.UNKNOWN_VIEW, "feature_view"),
    (pb.DeleteRequest(model="x"), Reason.UNKNOWN_MODEL, "model"),
    (pb.DeleteRequest(endpoint="x"), Reason.UNKNOWN_ENDPOINT, "endpoint"),
    (pb.DeleteRequest(version=pb.VersionName(model="x", version="1.0.0")), Reason.UNKNOWN_MODEL, "version.model"),
    (pb.DeleteRequest(version=pb.VersionName(model="churn", version="x")), Reason.UNKNOWN_VERSION, "version.version"),
]


@pytest.mark.parametrize(("request_", "reason", "path"), UNKNOWN)
async def test_what_is_not_there_cannot_be_deleted(
    full: Client, request_: pb.DeleteRequest, reason: Reason, path: str
) -> None:
    """A mistyped name is an error, not a success."""
    with pytest.raises(MeshError) as caught:
        await full.stub.Delete(request_)
    assert (caught.value.reason, caught.value.violations[0].field) == (reason, path)


async def test_all_can_go_from_the_outside_in(full: Client) -> None:
    """Endpoint, then model with its versions, then view."""
    for request in (
        pb.DeleteRequest(endpoint="churn", reason="tidying"),
        pb.DeleteRequest(model="churn"),
        pb.DeleteRequest(feature_view="rider_stats"),
    ):
        await full.stub.Delete(request)
    snapshot = await full.snapshot()
    assert (snapshot.revision, len(snapshot.models), len(snapshot.feature_views), len(snapshot.endpoints)) == (
        6,
        0,
        0,
        0,
    )
    assert (await full.events())[3].reason == "tidying"


async def test_a_version_pinned_by_a_route_stays(full: Client) -> None:
    """A route by number holds a version as an alias does; once nothing names it, it can go."""
    await full.register(version("1.1.0"))
    await full.apply(endpoint(route=Route(version="1.1.0")))
    deletion = pb.DeleteRequest(version=pb.VersionName(model="churn", version="1.1.0"))
    with pytest.raises(MeshError, match="endpoint churn") as caught:
        await full.stub.Delete(deletion)
    assert caught.value.reason == Reason.IN_USE
    await full.apply(endpoint())
    await full.stub.Delete(deletion)
    assert [each.version for each in (await full.snapshot()).models[0].versions] == ["1.0.0"]


async def test_a_key_may_have_the_name_of_a_feature(full: Client) -> None:
    """Columns of keys and request-time values are told apart, in a sample as in a request."""
    signature = Signature((spec("x", shape=(3,)), spec("t")), (spec("y"),))
    bindings = (InputBinding("x", (asked("rider_id"),)), InputBinding("t", (stored("trips"),)))
    await full.register(version("2.0.0", signature=signature, bindings=bindings))
    sample = endpoint(
        "e",
        route=Route(version="2.0.0"),
        sample_entities=(column("rider_id", strings=("r1", "r2")),),
        sample_features=(column("rider_id", floats=(1.0, 2.0, 3.0) * 2),),
    )
    assert (await full.apply(sample)).revision == 5
