"""What model processes have said they have loaded. Volatile: a process that is silent is forgotten."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.mesh.errors import MissingField
from services.registry.definitions import Version

EXPIRY_S = 15.0


class RuntimeState(enum.StrEnum):
    """Where a version stands on one runtime of one process."""

    UNSPECIFIED = ""
    LOADING = "LOADING"
    READY = "READY"
    FAILED = "FAILED"
    UNLOADING = "UNLOADING"


class GoldenState(enum.StrEnum):
    """Whether a runtime gives the recorded outputs of a version's golden set."""

    UNSPECIFIED = ""
    PASSED = "PASSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One version on one runtime: `message` says why it failed, `load_time_us` how long it took to be ready.

    `golden_message` says where it does not give the golden outputs.
    """

    model: str
    version: str
    digest: str
    runtime: str
    state: RuntimeState
    message: str = ""
    state_time: datetime | None = None
    load_time_us: int = 0
    golden: GoldenState = GoldenState.UNSPECIFIED
    golden_message: str = ""


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """The last word of a process."""

    instance_id: str
    report_time: datetime
    runtimes: tuple[RuntimeStatus, ...]


class Readiness:
    """The reports of live processes. `monotonic` answers seconds, `now` the time in UTC."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], datetime], expiry_s: float = EXPIRY_S) -> None:
        self._monotonic = monotonic
        self._now = now
        self.expiry_s = expiry_s
        self._reports: dict[str, tuple[float, InstanceReport]] = {}

    def report(self, instance_id: str, runtimes: tuple[RuntimeStatus, ...]) -> None:
        """Take what a process says in place of what it said before."""
        if not instance_id:
            raise MissingField("a report needs the process it is of", field="instance_id")
        self._forget()
        self._reports[instance_id] = (self._monotonic(), InstanceReport(instance_id, self._now(), runtimes))

    def reports(self) -> list[InstanceReport]:
        """The last word of every live process, by its name."""
        self._forget()
        return [report for _, (_, report) in sorted(self._reports.items())]

    def told(self, model: str, version: Version) -> list[RuntimeStatus]:
        """What live processes say of the version with this very content."""
        return [
            status
            for report in self.reports()
            for status in report.runtimes
            if (status.model, status.version, status.digest) == (model, version.version, version.digest)
        ]

    def why_not_ready(self, model: str, version: Version) -> str:
        """Empty if a live process has the version READY, with this very content, on some runtime; else why not."""
        told = self.told(model, version)
        if any(status.state is RuntimeState.READY for status in told):
            return ""
        states = "; ".join(f"{status.runtime}: {status.state} {status.message}".rstrip() for status in told)
        return f"no model process has {model}@{version.version} READY ({states or 'none has reported it'})"

    def _forget(self) -> None:
        oldest = self._monotonic() - self.expiry_s
        self._reports = {name: (heard, report) for name, (heard, report) in self._reports.items() if heard > oldest}
