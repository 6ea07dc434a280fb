"""What Triton is told about models: load, unload; and what it says of them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NoReturn

from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.mesh.errors import (
    Code,
    FieldViolation,
    MeshError,
    StoreUnavailable,
    UpstreamUnavailable,
)
from services.model.errors import InvalidArtifact, SignatureMismatch
from services.model.oip.failures import failures_of, without_places
from services.model.runtimes.oip import CONTROL_TIMEOUT_S

SERVER = "Triton"

_GONE_LIMIT_S = 10.0
_POLL_S = 0.05
# States in which a model holds nothing; "" is one that was never loaded.
_GONE = {"", "UNAVAILABLE"}

_SERVER_AWAY = {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.RESOURCE_EXHAUSTED}
_NOT_EXPLICIT = "explicit model load"
_NOT_FOUND = "failed to poll"
# What our backend for the CPU says, and behind it one difference after the other; then what the native one says.
_OTHER_TENSORS = "the model does not match its configuration: "
_NATIVE_OTHER_TENSORS = ("unexpected inference ", "unexpected datatype ", "the model configuration specifies")


class TritonControl:
    """Models of one server, by name. Every method raises UpstreamUnavailable or DeadlineExceeded while it is away."""

    def __init__(self, stub: GRPCInferenceServiceStub, load_timeout_s: float) -> None:
        self._stub = stub
        self._load_timeout_s = load_timeout_s

    async def check_live(self) -> None:
        """Return if the server answers. Whether it is ready says nothing: one model that fails to load makes it so."""
        with failures_of(SERVER):
            await self._stub.ServerLive(pb.ServerLiveRequest(), timeout=CONTROL_TIMEOUT_S)

    async def ready(self, name: str) -> bool:
        """Whether a model is loaded. It may fail all the same: a Python process that has died is not noticed."""
        with failures_of(SERVER):
            response = await self._stub.ModelReady(pb.ModelReadyRequest(name=name), timeout=CONTROL_TIMEOUT_S)
        return bool(response.ready)

    async def states(self) -> dict[str, str]:
        """Return the state of every model in the repository, with Triton's words."""
        with failures_of(SERVER):
            index = await self._stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=CONTROL_TIMEOUT_S)
        return {model.name: model.state for model in index.models}

    async def load(self, name: str) -> None:
        """Load a model from its directory; nothing if it is loaded.

        Raises InvalidArtifact, SignatureMismatch, or StoreUnavailable if Triton does not see the directory.
        """
        try:
            await self._stub.RepositoryModelLoad(
                pb.RepositoryModelLoadRequest(model_name=name), timeout=self._load_timeout_s
            )
        except MeshError as error:
            _raise_refusal(error)

    async def unload(self, name: str) -> None:
        """Have a model unloaded, after its load if that is under way; nothing if there is no such model.

        It takes no more batches then, and may be loaded again, but holds what it has until `gone`.
        """
        with failures_of(SERVER):
            request = pb.RepositoryModelUnloadRequest(model_name=name)
            await self._stub.RepositoryModelUnload(request, timeout=CONTROL_TIMEOUT_S)

    async def gone(self, name: str) -> bool:
        """Wait until a model holds nothing; False if it still does after a while.

        One whose Python process has died never ends to unload, and holds a thread and some shared memory for ever.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_GONE_LIMIT_S):
                while (await self.states()).get(name, "") not in _GONE:  # noqa: ASYNC110 - Triton cannot be waited on
                    await asyncio.sleep(_POLL_S)
                return True
        return False


def _raise_refusal(error: MeshError) -> NoReturn:
    """Raise what a failed load means."""
    text = without_places(error.message)
    if _NOT_EXPLICIT in text:
        raise UpstreamUnavailable("Triton does not run with --model-control-mode=explicit") from error
    if error.code in _SERVER_AWAY:
        with failures_of(SERVER):
            raise error
    if _NOT_FOUND in text:
        message = "Triton does not find the model, or cannot read its configuration: does it see triton_repository?"
        raise StoreUnavailable(message) from error
    # It reads: load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: WHY;
    why = text.partition(" state: ")[2].rstrip("; ") or text
    if _OTHER_TENSORS in why:
        differences = why.partition(_OTHER_TENSORS)[2].split("; ")
        raise SignatureMismatch(_mismatch(differences), violations=_violations(differences)) from error
    if any(sign in why for sign in _NATIVE_OTHER_TENSORS):
        raise SignatureMismatch(_mismatch([why]), violations=_violations([why])) from error
    raise InvalidArtifact(f"Triton does not load the model: {why}") from error


def _mismatch(differences: list[str]) -> str:
    return f"the model does not match its signature: {'; '.join(differences)}"


def _violations(differences: list[str]) -> list[FieldViolation]:
    return [FieldViolation("signature", difference) for difference in differences]
