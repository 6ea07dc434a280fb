"""A server of the Open Inference Protocol in the test's own event loop: a test sets what its models answer, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import grpc
from tritonclient.grpc import service_pb2 as oip
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from services.model.datatypes import DTYPES, Array, pack, unpack
from services.model.versions import Signature, TensorSpec

Arrays = Mapping[str, Array]
Answer = Callable[[Arrays], Arrays]
Context = grpc.aio.ServicerContext[oip.ModelInferRequest, oip.ModelInferResponse]


@dataclass
class ScriptedModel:
    """Answers what `answer` makes of the inputs, arrays by name, once `gate` is open; ValueError becomes INTERNAL.

    What comes back is sent as it is, whatever the signature says. `calls` has the inputs of each call but for those that
    are blank, as the model service's own are. Others than blank ones may be answered `instead`, and with a `failure` every
    call ends with that code.
    """

    name: str
    signature: Signature
    answer: Answer
    instead: Answer | None = None
    failure: grpc.StatusCode | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Arrays] = field(default_factory=list)
    waiting: int = 0
    cancelled: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def asked(self, name: str = "x") -> list[float]:
        """What it was given as one of its inputs, row after row."""
        return [value for call in self.calls for value in call[name].ravel().tolist()]

    async def infer(self, inputs: Arrays) -> Arrays:
        """Answer one call."""
        blank = not any(array.any() for array in inputs.values())
        if not blank:
            self.calls.append(inputs)
        self.waiting += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return self.answer(inputs) if blank or self.instead is None else self.instead(inputs)

    @contextmanager
    def answering(self, instead: Answer) -> Iterator[None]:
        """Answer otherwise for the time of the context."""
        self.instead = instead
        try:
            yield
        finally:
            self.instead = None

    @contextmanager
    def failing(self, failure: grpc.StatusCode) -> Iterator[None]:
        """Answer no call for the time of the context."""
        self.failure = failure
        try:
            yield
        finally:
            self.failure = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Hold every call for the time of the context."""
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


@dataclass
class ScriptedModels(GRPCInferenceServiceServicer):  # type: ignore[misc]  # it is not typed
    """Every model by its name; `port` answers the protocol."""

    port: int = 0
    models: dict[str, ScriptedModel] = field(default_factory=dict)

    def add(self, name: str, answer: Answer, signature: Signature | None = None) -> ScriptedModel:
        """Put a model there; unless told otherwise it takes x and gives y, both FP32 [rows]."""
        made = self.models[name] = ScriptedModel(name, signature or scalar(), answer)
        return made

    def target(self, name: str) -> str:
        """Where a model is, as an artifact says it."""
        return f"127.0.0.1:{self.port}/{name}"

    async def ModelReady(self, request: oip.ModelReadyRequest, context: Context) -> oip.ModelReadyResponse:
        """Answer whether it is there."""
        return oip.ModelReadyResponse(ready=request.name in self.models)

    async def ModelMetadata(self, request: oip.ModelMetadataRequest, context: Context) -> oip.ModelMetadataResponse:
        """Answer nothing but the name: the signature of the version is then taken for true."""
        return oip.ModelMetadataResponse(name=request.name, platform="scripted")

    async def ModelInfer(self, request: oip.ModelInferRequest, context: Context) -> oip.ModelInferResponse:
        """Answer as the model is told to."""
        model = self.models[request.model_name]
        inputs = {
            tensor.name: unpack(raw, tensor.datatype, tuple(tensor.shape))
            for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        if model.failure is not None:
            await context.abort(model.failure, "as the test has it")
        try:
            outputs = await model.infer(inputs)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        response = oip.ModelInferResponse(model_name=model.name)
        for spec in model.signature.outputs:
            values = outputs[spec.name].astype(DTYPES[spec.datatype])
            response.outputs.add(name=spec.name, datatype=spec.datatype, shape=values.shape)
            response.raw_output_contents.append(pack(values))
        return response


def refused(inputs: Arrays) -> Arrays:
    """No values are good."""
    raise ValueError("as the test has it")


def scalar(*inputs: str) -> Signature:
    """FP32 [rows] all through: the inputs, x unless they are named, and the output y."""
    return Signature(tuple(TensorSpec(name, "FP32", ()) for name in inputs or ("x",)), (TensorSpec("y", "FP32", ()),))


@asynccontextmanager
async def scripted_models() -> AsyncIterator[ScriptedModels]:
    """Serve them for the time of the context, at first none."""
    made = ScriptedModels()
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield made
    finally:
        await server.stop(grace=0)
