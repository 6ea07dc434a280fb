"""The calls behind the gateway: what is asked, what is asked again, and what is made of the answers."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as oip

from predictmesh.features.v1 import features_service_pb2 as pb
from services.gateway import clients
from services.gateway.clients import FeatureClient, ModelClient
from services.gateway.errors import InvalidOutput
from services.gateway.prediction import (
    NOT_STORED,
    DegradationReason,
    FeatureRows,
    FeatureState,
    Inference,
    RuntimeSource,
)
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, DeadlineExceeded, MeshError, Reason, RemoteError
from services.mesh.replicas import only
from services.mesh.resilience import Effort
from tests.support.predictions import AS_OF_US, target, view

KEYED = view("n", "v:FP32", carrier="STRING", flight="INT64")
AIM = target({"x:FP32:2": ["n:v", "hour"], "w:INT64:3": ["mix"]}, KEYED, outputs=("y:FP32:2", "t:BYTES"))
KEYS: list[list[str] | list[int]] = [["UA", "AA"], [1, 2**63 - 1]]


class ScriptedFeatures:
    """A feature service that knows plans by having been sent them; `failures` come first, whoever asks."""

    def __init__(self) -> None:
        self.asked: list[pb.GetFeaturesRequest] = []
        self.plans: dict[bytes, pb.FeaturePlan] = {}
        self.failures: list[MeshError] = []
        self.answer = pb.GetFeaturesResponse()

    async def GetFeatures(self, request: pb.GetFeaturesRequest, timeout: float) -> pb.GetFeaturesResponse:
        self.asked.append(pb.GetFeaturesRequest.FromString(request.SerializeToString()))
        if self.failures:
            raise self.failures.pop(0)
        if request.HasField("plan"):
            self.plans[request.plan_id] = request.plan
        if request.plan_id not in self.plans:
            raise RemoteError(Code.FAILED_PRECONDITION, Reason.UNKNOWN_PLAN, "send the plan")
        return self.answer


@pytest.fixture
def service() -> ScriptedFeatures:
    """A feature service that knows no plan."""
    return ScriptedFeatures()


@pytest.fixture
def features(service: ScriptedFeatures) -> FeatureClient:
    """A client of it."""
    stub: Any = service
    return FeatureClient(only(stub))


async def got(features: FeatureClient, seconds: float = 5) -> FeatureRows:
    """Ask for two rows."""
    return await features.get(AIM, KEYS, [AS_OF_US, AS_OF_US + 1], Deadline.after(seconds), want_origins=True)


async def test_request(features: FeatureClient, service: ScriptedFeatures) -> None:
    """Keys by name and type, a time for each row."""
    await got(features)
    asked = service.asked[0]
    assert [("carrier", ["UA", "AA"], []), ("flight", [], [1, 2**63 - 1])] == [
        (key.name, list(key.strings), list(key.ints)) for key in asked.keys
    ]
    assert [AS_OF_US, AS_OF_US + 1] == list(asked.as_of_us)
    assert asked.want_origins


async def test_plan_is_sent_to_who_does_not_know_it(features: FeatureClient, service: ScriptedFeatures) -> None:
    """The id alone is sent first; then the plan, and with some more calls, which may go to other replicas."""
    more = clients.PLAN_CALLS
    for _ in range(more + 3):
        await got(features)
    assert [False, True] + [True] * more + [False] * 2 == [asked.HasField("plan") for asked in service.asked]
    assert {AIM.plan_id} == {asked.plan_id for asked in service.asked}
    assert AIM.plan == service.plans[AIM.plan_id]


async def test_plan_that_is_refused(features: FeatureClient, service: ScriptedFeatures) -> None:
    """A service that goes on asking for the plan does not keep the gateway in a loop."""
    unknown = [RemoteError(Code.FAILED_PRECONDITION, Reason.UNKNOWN_PLAN, "what plan?") for _ in range(9)]
    service.failures += unknown
    with pytest.raises(MeshError, match="what plan"):
        await got(features)
    assert 2 == len(service.asked)


async def test_answer(features: FeatureClient, service: ScriptedFeatures) -> None:
    """Everything arrives as it was sent, to the ends of int64."""
    service.answer = pb.GetFeaturesResponse(
        tensors=[b"12345678" * 2],
        ages_us=struct.pack("<2q", NOT_STORED, 2**63 - 1),
        statuses=[pb.FeatureStatus(row=1, view=0, state=pb.FEATURE_STATE_AHEAD)],
        missing=[pb.MissingElement(row=0, tensor=0, source=1)],
        origins=[b"\x01\x00\x02\x00"],
    )
    rows = await got(features)
    assert ([b"12345678" * 2], [NOT_STORED, 2**63 - 1]) == (rows.tensors, rows.ages_us.tolist())
    assert [(1, 0, FeatureState.AHEAD)] == rows.statuses
    assert ([(0, 0, 1)], [b"\x01\x00\x02\x00"]) == (rows.missing, rows.origins)


async def test_rows_that_the_store_did_not_answer_for(features: FeatureClient, service: ScriptedFeatures) -> None:
    """They come by view; a view without rows has all of them."""
    service.answer = pb.GetFeaturesResponse(
        ages_us=bytes(16), unreached=[pb.UnreachedRows(view=1), pb.UnreachedRows(view=0, rows=[1])]
    )
    rows = await got(features)
    assert {0: [1], 1: [0, 1]} == {view: sorted(among) for view, among in rows.unreached.items()}


def late_view() -> MeshError:
    """Return what a feature service says whose snapshot is older than the gateway's."""
    return RemoteError(Code.FAILED_PRECONDITION, Reason.UNKNOWN_VIEW, "no such view yet")


async def test_view_that_is_on_its_way(features: FeatureClient, service: ScriptedFeatures) -> None:
    """A feature service that lags behind a change of the definitions gets a moment to catch up."""
    service.plans[AIM.plan_id] = pb.FeaturePlan()
    service.failures += [late_view(), late_view()]
    await got(features)
    assert 3 == len(service.asked)


async def test_waiting_for_a_view_does_not_add_to_the_budget(
    features: FeatureClient, service: ScriptedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a view or a plan is asked for again, a failing service gets no more than the first calls allow for."""
    monkeypatch.setattr(clients, "VIEW_WAITS_S", (0.0,) * 100)
    service.failures += [late_view() for _ in range(100)]
    await got(features)
    service.asked.clear()
    service.failures += [RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not here") for _ in range(100)]
    calls = 40
    for _ in range(calls):
        with pytest.raises(MeshError, match="not here"):
            await got(features)
    # Ten at the start, and one for every ten of the calls, the one before among them.
    assert calls + 14 == len(service.asked)


async def test_view_that_does_not_come(
    features: FeatureClient, service: ScriptedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is bounded, and what the service says is passed on."""
    monkeypatch.setattr(clients, "VIEW_WAITS_S", (0.001, 0.002))
    service.failures += [late_view() for _ in range(9)]
    with pytest.raises(MeshError) as caught:
        await got(features)
    assert Reason.UNKNOWN_VIEW is caught.value.reason
    assert 3 == len(service.asked)


async def test_wait_for_a_view_ends_with_the_time(
    features: FeatureClient, service: ScriptedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits longer than the caller does."""
    monkeypatch.setattr(clients, "VIEW_WAITS_S", (60.0,))
    service.failures.append(late_view())
    async with asyncio.timeout(5):
        with pytest.raises(MeshError, match="no such view"):
            await got(features, seconds=1)


async def test_unavailable_is_asked_again(features: FeatureClient, service: ScriptedFeatures) -> None:
    """Another replica may answer; a third failure is the answer."""
    service.plans[AIM.plan_id] = pb.FeaturePlan()
    down = [RemoteError(Code.UNAVAILABLE, Reason.STORE_UNAVAILABLE, "down") for _ in range(4)]
    service.failures += down[:1]
    assert Effort(retries=1) == (await got(features)).effort
    assert 2 == len(service.asked)
    service.failures += down[1:]
    with pytest.raises(MeshError, match="down"):
        await got(features)
    assert 5 == len(service.asked)


async def test_nothing_is_asked_without_time(features: FeatureClient, service: ScriptedFeatures) -> None:
    """A deadline that has passed is not handed on."""
    with pytest.raises(DeadlineExceeded):
        await got(features, seconds=-1)
    assert [] == service.asked


class ScriptedModel:
    """Answers ModelInfer with `answer`, after `failures`."""

    def __init__(self) -> None:
        self.asked: list[oip.ModelInferRequest] = []
        self.timeouts: list[float] = []
        self.failures: list[MeshError] = []
        self.answer = oip.ModelInferResponse()

    async def infer(self, request: oip.ModelInferRequest, timeout: float) -> oip.ModelInferResponse:
        self.asked.append(oip.ModelInferRequest.FromString(request.SerializeToString()))
        self.timeouts.append(timeout)
        if self.failures:
            raise self.failures.pop(0)
        return self.answer

    def says(self, **outputs: bytes) -> None:
        """Answer these outputs."""
        self.answer = oip.ModelInferResponse(
            outputs=[oip.ModelInferResponse.InferOutputTensor(name=name) for name in outputs],
            raw_output_contents=outputs.values(),
        )


@pytest.fixture
def model() -> ScriptedModel:
    """A model that answers two rows."""
    made = ScriptedModel()
    made.says(y=struct.pack("<4f", 1, 2, 3, 4), t=b"\1\0\0\0a\0\0\0\0")
    return made


async def inferred(model: ScriptedModel) -> Inference:
    """Ask for two rows."""
    client = ModelClient(only(SimpleNamespace(ModelInfer=model.infer)))
    return await client.infer(AIM, [b"x" * 16, b"w" * 48], [900, 5], Deadline.after(5))


async def test_inference_request(model: ScriptedModel) -> None:
    """The version, each input with its shape and packed bytes, and the time left by row."""
    await inferred(model)
    (asked,) = model.asked
    assert ("m", "1.0.0") == (asked.model_name, asked.model_version)
    assert [("x", "FP32", [2, 2]), ("w", "INT64", [2, 3])] == [
        (tensor.name, tensor.datatype, list(tensor.shape)) for tensor in asked.inputs
    ]
    assert [b"x" * 16, b"w" * 48] == list(asked.raw_input_contents)
    assert "900,5" == asked.parameters["pm_rows"].string_param
    assert 4 < model.timeouts[0] <= 5


async def test_another_attempt_tells_the_time_that_is_left_then(model: ScriptedModel) -> None:
    """Not what was left at the first; a row has no less than nothing."""
    model.failures.append(RemoteError(Code.UNAVAILABLE, Reason.OVERLOADED, "not now", retry_after_s=0.05))
    await inferred(model)
    first, second = (asked.parameters["pm_rows"].string_param.split(",") for asked in model.asked)
    assert ["900", "5"] == first
    assert 0 < int(second[0]) <= 850
    assert "0" == second[1]


async def test_inference(model: ScriptedModel) -> None:
    """Outputs by name, whatever else is answered, in the signature's order."""
    model.says(t=b"\1\0\0\0a\0\0\0\0", more=b"", y=struct.pack("<4f", 1, 2, 3, 4))
    model.answer.parameters["pm_runtime"].string_param = "onnx"
    answer = await inferred(model)
    assert [[[1, 2], [3, 4]], [[b"a"], [b""]]] == [output.tolist() for output in answer.outputs]
    assert ((RuntimeSource("onnx"),), None, {}) == (answer.sources, answer.row_source, answer.failed_rows)


async def test_rows_that_failed(model: ScriptedModel) -> None:
    """The codes of failed rows come as an output of their own."""
    model.answer.outputs.add(name="pm_row_status")
    model.answer.raw_output_contents.append(np.array([0, 4], "<i4").tobytes())
    assert {1: 4} == (await inferred(model)).failed_rows


def _computed_by(model: ScriptedModel, text: str, row_source: bytes | None = None) -> None:
    model.answer.parameters["pm_runtime"].string_param = text
    if row_source is not None:
        model.answer.outputs.add(name="pm_row_source")
        model.answer.raw_output_contents.append(row_source)


async def test_runtime_that_stood_in(model: ScriptedModel) -> None:
    """The reason, and the runtime of first choice."""
    _computed_by(model, "onnx;RUNTIME_SLOW;triton")
    answer = await inferred(model)
    assert (RuntimeSource("onnx", DegradationReason.RUNTIME_SLOW, "triton"),) == answer.sources
    assert answer.row_source is None


async def test_rows_of_several_runtimes(model: ScriptedModel) -> None:
    """Each row has its source."""
    _computed_by(model, "triton,onnx;RUNTIME_SATURATED;triton", b"\1\0")
    answer = await inferred(model)
    stood_in = RuntimeSource("onnx", DegradationReason.RUNTIME_SATURATED, "triton")
    assert (RuntimeSource("triton"), stood_in) == answer.sources
    assert answer.row_source is not None
    assert [1, 0] == answer.row_source.tolist()


@pytest.mark.parametrize(
    ("text", "row_source"),
    [
        ("onnx;RUNTIME_FAILED", None),
        ("onnx;RUNTIME_FAILED;", None),
        (";RUNTIME_FAILED;triton", None),
        ("onnx;RUNTIME_FAILED;triton;twice", None),
        ("onnx;RUNTIME_BORED;triton", None),
        ("onnx;FEATURE_ABSENT;triton", None),
        ("triton,onnx;RUNTIME_FAILED;triton", None),
        ("triton,onnx;RUNTIME_FAILED;triton", b"\0"),
        ("triton,onnx;RUNTIME_FAILED;triton", b"\0\1\0"),
        ("triton,onnx;RUNTIME_FAILED;triton", b"\0\2"),
    ],
)
async def test_runtimes_that_make_no_sense(model: ScriptedModel, text: str, row_source: bytes | None) -> None:
    """An answer of which nobody can say what computed it is none."""
    _computed_by(model, text, row_source)
    with pytest.raises(InvalidOutput, match="did not say what computed"):
        await inferred(model)


def _without_output(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 16)


def _without_bytes(model: ScriptedModel) -> None:
    del model.answer.raw_output_contents[-1]


def _too_few_rows(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 8, t=b"\0" * 8)


def _too_many_rows(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 16, t=b"\0" * 12)


def _torn(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 15, t=b"\0" * 8)


def _text_cut_short(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 16, t=b"\0\0\0\0\5\0\0\0a")


def _row_status_torn(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 16, t=b"\0" * 8, pm_row_status=b"\0" * 7)


def _row_status_of_more_rows(model: ScriptedModel) -> None:
    model.says(y=b"\0" * 16, t=b"\0" * 8, pm_row_status=b"\1\0\0\0" * 3)


@pytest.mark.parametrize(
    "fault",
    [
        _without_output,
        _without_bytes,
        _too_few_rows,
        _too_many_rows,
        _torn,
        _text_cut_short,
        _row_status_torn,
        _row_status_of_more_rows,
    ],
)
async def test_answer_that_is_none(model: ScriptedModel, fault: Callable[[ScriptedModel], None]) -> None:
    """What the signature does not allow is never taken for an answer."""
    fault(model)
    with pytest.raises(InvalidOutput):
        await inferred(model)


async def test_version_that_is_not_loaded_is_asked_elsewhere(model: ScriptedModel) -> None:
    """The retries go to other pods; it says nothing of the hop."""
    missing = [RemoteError(Code.UNAVAILABLE, Reason.VERSION_NOT_LOADED, "not here") for _ in range(4)]
    model.failures += missing[:1]
    await inferred(model)
    assert 2 == len(model.asked)
    client = ModelClient(only(SimpleNamespace(ModelInfer=model.infer)))
    for _ in range(9):
        model.failures += missing[1:]
        with pytest.raises(MeshError) as caught:
            await client.infer(AIM, [b"", b""], [5], Deadline.after(5))
        assert Reason.VERSION_NOT_LOADED is caught.value.reason
        model.failures.clear()
    assert {"": "closed"} == client.hop.states()
