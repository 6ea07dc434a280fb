"""Waiting until model processes have loaded a version, and what each of them says of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from predictmesh.model.v1.runtime_pb2 import GoldenState, RuntimeState, RuntimeStatus
from predictmesh.registry.v1.model_pb2 import Version
from predictmesh.registry.v1.registry_service_pb2 import GetVersionRequest, ListRuntimesRequest, VersionName
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from services.cli.errors import Failure, Mistake
from services.cli.labels import words

_POLL_S = 0.2


@dataclass(frozen=True)
class Wait:
    """A wait of so many seconds, from now on."""

    seconds: float
    _begin: float = field(default_factory=time.monotonic, init=False)

    @property
    def left_s(self) -> float:
        """What is left of it; negative when it is over."""
        return self._begin + self.seconds - time.monotonic()


def await_loaded(registry: RegistryServiceStub, model: str, version: Version, wait: Wait) -> list[RuntimeStatus]:
    """Return where the version stands in each process, once one of them serves it; of a composed one, its nodes' versions.

    Failure if none does in time, Mistake if all have failed to load it.
    """
    if not version.HasField("graph"):
        return _await_one(registry, model, version.version, version.digest, wait)
    nodes = {(node.model.model, node.model.version) for node in version.graph.nodes if node.HasField("model")}
    digests = {name: _digest(registry, *name, wait.seconds) for name in sorted(nodes)}
    return [status for name, digest in digests.items() for status in _await_one(registry, *name, digest, wait)]


def _digest(registry: RegistryServiceStub, model: str, version: str, timeout_s: float) -> str:
    name = VersionName(model=model, version=version)
    return registry.GetVersion(GetVersionRequest(name=name), timeout=timeout_s).version.digest


def _await_one(registry: RegistryServiceStub, model: str, version: str, digest: str, wait: Wait) -> list[RuntimeStatus]:
    while True:
        reports = registry.ListRuntimes(ListRuntimesRequest(), timeout=wait.seconds).instances
        statuses = [
            status
            for report in reports
            for status in report.runtimes
            if (status.model, status.version) == (model, version) and status.digest in {"", digest}
        ]
        if any(map(is_ready, statuses)):
            return statuses
        _check_loadable(model, version, statuses)
        if wait.left_s < 0:
            raise Failure(f"{model} {version} is registered, but no model process serves it after {wait.seconds:g} s")
        time.sleep(_POLL_S)


def _check_loadable(model: str, version: str, statuses: Sequence[RuntimeStatus]) -> None:
    failed = [status for status in statuses if status.state == RuntimeState.RUNTIME_STATE_FAILED]
    if failed and len(failed) == len(statuses):
        messages = "; ".join(f"{status.runtime}: {status.message}" for status in failed)
        raise Mistake(f"{model} {version} is registered, but could not be loaded: {messages}")


def is_ready(status: RuntimeStatus) -> bool:
    """Whether the process serves the version."""
    return status.state == RuntimeState.RUNTIME_STATE_READY


def standing(status: RuntimeStatus) -> str:
    """Return in words how the version stands in a process."""
    if is_ready(status):
        return f"ready on {status.runtime} after {status.load_time_us / 1e3:.0f} ms" + _golden(status)
    state = words(RuntimeState.Name, "RUNTIME_STATE_", status.state)
    return f"not ready on {status.runtime}: {state}" + (f", {status.message}" if status.message else "")


def _golden(status: RuntimeStatus) -> str:
    if status.golden == GoldenState.GOLDEN_STATE_FAILED:
        return f", but its golden set fails there: {status.golden_message}"
    return ", its golden set passes" if status.golden == GoldenState.GOLDEN_STATE_PASSED else ""
