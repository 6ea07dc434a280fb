"""NVIDIA Triton: a server of its own, which loads from a directory that both see, and answers batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import tenacity
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.mesh.channel import open_stub
from services.mesh.errors import DeadlineExceeded, MeshError, UpstreamUnavailable
from services.model.datatypes import Array
from services.model.errors import InvalidArtifact, RuntimeFailed
from services.model.oip.client import InferCodec
from services.model.runtimes.oip import MAX_MESSAGE_BYTES, RemoteModel, Target, ask_codec
from services.model.runtimes.onnx import check_onnx
from services.model.runtimes.triton_config import ENSEMBLE, FORMATS, Instances, model_config, server_names, steps_of
from services.model.runtimes.triton_control import SERVER, TritonControl
from services.model.runtimes.triton_deployment import Deployment, to_the_end
from services.model.runtimes.triton_leaving import MOST_S, Leaving
from services.model.runtimes.triton_repository import TritonRepository, is_ours, triton_name
from services.model.versions import Placement, Signature
from services.model.warmup import blank_rows

logger = logging.getLogger(__name__)

# The next batch is there when one is done; more would wait in Triton's queue, where it goes on waiting when its call is
# given up.
_AHEAD = 1
_PROBE_LIMIT_S = 10.0
# Enough for each instance to get one.
_PROBES_PER_INSTANCE = 4
_CLEAR_RETRY_S = 1.0


class TritonModel(RemoteModel):
    """One version in Triton."""

    def __init__(
        self,
        stub: GRPCInferenceServiceStub,
        codec: InferCodec,
        platform: str,
        *,
        signature: Signature,
        deployment: Deployment,
        parallel: int,
        release: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(stub, Target(SERVER, deployment.name), codec, platform)
        self.parallel = parallel
        self._signature = signature
        self._deployment = deployment
        self._release = release
        self._calls: set[asyncio.Task[dict[str, Array]]] = set()
        self._leaving = Leaving()
        self._given_up = 0
        deployment.answers = self._answers

    @property
    def ahead(self) -> int:
        """Batches that may stand behind those that are computed: none while Triton computes for nobody."""
        return 0 if self._given_up else _AHEAD

    async def infer(self, inputs: Mapping[str, Array], timeout_s: float) -> dict[str, Array]:
        """Send one batch and read its outputs, which are read-only; one that is given up as it ends may end by itself."""
        started = time.monotonic()
        call = asyncio.create_task(self._send(inputs, timeout_s + MOST_S, started))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(call)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._give_up(call, started)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise DeadlineExceeded(f"{SERVER} did not answer in time") from error

    async def revive(self) -> None:
        """Load it again if it is not ready, or does not answer a row of zeros."""
        await self._deployment.heal()

    async def close(self) -> None:
        """Unload it if no other version shares its content."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=MOST_S)
        await self._release()

    async def _send(self, inputs: Mapping[str, Array], timeout_s: float, started: float) -> dict[str, Array]:
        outputs = await super().infer(inputs, timeout_s)
        self._leaving.answered(time.monotonic() - started)
        return outputs

    def _give_up(self, call: asyncio.Task[dict[str, Array]], started: float) -> None:
        if call.done():
            return
        self._given_up += 1
        loop = asyncio.get_running_loop()
        end = loop.call_later(self._leaving.let_end_s(time.monotonic() - started), call.cancel)

        def ended(call: asyncio.Task[dict[str, Array]]) -> None:
            end.cancel()
            if call.cancelled():
                # What is being computed goes on being computed.
                loop.call_later(self._leaving.computed_in_s(time.monotonic() - started), self._computed)
            else:
                # Looked at, so that it is not reported as lost: nobody waits for it.
                call.exception()
                self._computed()

        call.add_done_callback(ended)

    def _computed(self) -> None:
        self._given_up -= 1

    async def _answers(self) -> bool:
        row = blank_rows(self._signature, 1)
        # Of several instances one may be dead: each has to get a row.
        probes = 1 if self.parallel == 1 else self.parallel * _PROBES_PER_INSTANCE
        try:
            await asyncio.gather(*(self.infer(row, _PROBE_LIMIT_S) for _ in range(probes)))
        except (RuntimeFailed, UpstreamUnavailable):
            return False
        return True


class TritonRuntime:
    """Deploys versions to one Triton, which need not be there yet."""

    name = "triton"

    def __init__(
        self, stub: GRPCInferenceServiceStub, directory: Path, instances: Instances, load_timeout_s: float
    ) -> None:
        self._stub = stub
        self._control = TritonControl(stub, load_timeout_s)
        self._repository = TritonRepository(directory)
        self._instances = instances
        self._deployments: dict[str, Deployment] = {}
        self._clearing = asyncio.Lock()
        self._clear = False

    async def load(self, placement: Placement, artifact: Path | None) -> TritonModel:
        """Write the version's directory and have Triton load it."""
        if artifact is None:
            raise InvalidArtifact("Triton needs an artifact")
        await self._control.check_live()
        await self.clear_leftovers()
        if placement.artifact.format == "onnx":
            # Triton compares too, but tells one difference in words of its backend, where this tells every one by its
            # field; and what is no model is refused without starting anything for it.
            await check_onnx(artifact, placement.version.signature)
        deployment = await self._deployment(placement, artifact)
        deployment.users += 1
        try:
            await deployment.bring_up()
            return await self._model(placement, deployment)
        except BaseException:
            await self._release(deployment)
            raise

    async def clear_leftovers(self) -> None:
        """Unload and delete what a former process has left, once; models of others are left alone."""
        async with self._clearing:
            if self._clear:
                return
            states = await self._control.states()
            left = {name for name in states if is_ours(name)} | await asyncio.to_thread(self._repository.names)
            await asyncio.gather(*map(self._clear_away, left))
            await asyncio.to_thread(self._repository.remove_unfinished)
            self._clear = True

    async def _clear_away(self, name: str) -> None:
        await self._control.unload(name)
        await self._control.gone(name)
        await asyncio.to_thread(self._repository.remove, name)

    async def _deployment(self, placement: Placement, artifact: Path) -> Deployment:
        name, form = triton_name(placement.version), placement.artifact.format
        if name not in self._deployments:
            content = await asyncio.to_thread(artifact.read_bytes) if form == ENSEMBLE else b""
            config = model_config(name, placement, self._instances, content)
            file = FORMATS[form].file if form in FORMATS else ""
            write = partial(self._repository.write, name, config, file, artifact)
            deployment = self._deployments.setdefault(name, Deployment(name, self._control, self._repository, write))
            if content:
                deployment.steps = partial(self._known, steps_of(content))
        return self._deployments[name]

    def _known(self, names: Sequence[str]) -> list[Deployment]:
        return [self._deployments[name] for name in names if name in self._deployments]

    async def _model(self, placement: Placement, deployment: Deployment) -> TritonModel:
        signature = placement.version.signature
        target = Target(SERVER, deployment.name)
        codec, platform = await ask_codec(self._stub, target, signature, server_names(placement))
        return TritonModel(
            self._stub,
            codec,
            platform or self.name,
            signature=signature,
            deployment=deployment,
            parallel=self._instances.count,
            release=partial(self._release, deployment),
        )

    async def _release(self, deployment: Deployment) -> None:
        deployment.users -= 1
        await to_the_end(deployment.take_down())
        if not deployment.users and self._deployments.get(deployment.name) is deployment:
            del self._deployments[deployment.name]


@asynccontextmanager
async def open_triton(
    address: str, directory: Path, instances: Instances, load_timeout_s: float
) -> AsyncIterator[TritonRuntime]:
    """Connect to the Triton at `address` that loads models from `directory`; it need not be there yet."""
    async with open_stub(address, GRPCInferenceServiceStub, max_message_bytes=MAX_MESSAGE_BYTES, foreign=True) as stub:
        runtime = TritonRuntime(stub, directory, instances, load_timeout_s)
        # Now too, as there may be nothing to load.
        clearing = asyncio.create_task(_insist(runtime.clear_leftovers), name="clear Triton's leftovers")
        try:
            yield runtime
        finally:
            clearing.cancel()


async def _insist(work: Callable[[], Awaitable[None]]) -> None:
    wait, again = tenacity.wait_fixed(_CLEAR_RETRY_S), tenacity.retry_if_exception_type(MeshError)
    await tenacity.AsyncRetrying(wait=wait, retry=again)(work)
